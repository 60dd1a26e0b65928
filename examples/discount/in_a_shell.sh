#!/bin/sh
# The rule from a shell: the basket and the prices are files.
cd -- "$(dirname -- "$0")" || exit
exec jefe run discount.hx --sandbox @basket.json --function priceOf=@prices.json
