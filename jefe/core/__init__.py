"""The supervisor: scripts, runs, pools, children. It knows no front and no command."""
