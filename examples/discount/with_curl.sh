#!/bin/sh
# The rule over HTTP, with curl. Start a server first: jefe http
#
#     with_curl.sh [URL]        the URL is http://127.0.0.1:4000 unless given
#
# If the server has a token, put it into the variable JEFE_HTTP_TOKEN. A client over HTTP has no functions that a
# script could call. So the prices are a variable, like the basket, and a callback before the rule looks them up.
cd -- "$(dirname -- "$0")" || exit
url=${1:-http://127.0.0.1:4000}

rule=$({ echo 'callback priceOf(fruit) { return prices[fruit]; }' && cat discount.hx; } |
    sed 's/[\\"]/\\&/g' | awk '{ printf "%s\\n", $0 }')  # as the text of a JSON string
basket=$(cat basket.json)
sandbox="{\"prices\":$(cat prices.json),${basket#\{}"

# The token goes in by a file descriptor, because everybody on the machine can read a command line.
answer=$(printf '{"script":"%s","sandbox":%s,"limits":{"maxTime":100}}' "$rule" "$sandbox" |
    curl -sS --data-binary @- ${JEFE_HTTP_TOKEN:+--config /dev/fd/3} "$url/v1/run" 3<<END
header = "Authorization: Bearer $JEFE_HTTP_TOKEN"
END
) || exit
case $answer in
    '{"ok":true,"response":{"exception":'*) echo "the rule failed: $answer" >&2; exit 1 ;;
    '{"ok":true,'*) printf '%s\n' "$answer" | sed 's/.*"result":\(.*\)},"timeTaken":.*/\1/' ;;
    *) echo "the server refused: $answer" >&2; exit 1 ;;
esac
