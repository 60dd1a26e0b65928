# Shared by the scripts in this folder. POSIX sh, because a machine with Python need not have bash.
#
# The caller says in $folder where the scripts are. `set_up run` or `set_up dev` then makes sure that $python is an
# interpreter with Jefe installed, and with what developing needs. `any_python` prints the name of a Python that can
# run the Python programs in this folder.
#
# When nothing changed, set_up costs two `cat`s: neither Python nor pip is started. What a stamp is, says set_up.py.

ready() {
    [ -x "$python" ] && [ "$(cat "$root/.venv/jefe-ready-$1" 2>/dev/null)" = "$root
$(cat "$root/pyproject.toml" "$root/locks/$1.txt")" ]
}

any_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo 'jefe: needs Python 3.11 or newer, and found none; install it, or put it on the PATH' >&2
    return 1
}

set_up() {
    if ready "$1"; then
        return
    fi
    candidate=$(any_python) || return
    # Standard input belongs to the command that follows, and standard output is protocol.
    "$candidate" -I "$root/scripts/set_up.py" "$1" </dev/null >&2
}

root=$(CDPATH='' cd -- "$folder/.." && pwd -P) || exit 1
python=$root/.venv/bin/python
