#!/bin/sh
# Restores an older backup of the log and leaves newer views in place. A server once ended then without a word, with exit status 0.
# usage: CASEBOOK_BIN=/path/to/casebook ./restore-older-backup.sh   (ports 22280 to 22284)
C=${CASEBOOK_BIN:-casebook}; D=$(mktemp -d); A="--data $D --http 127.0.0.1:22280 --admin 127.0.0.1:22281 --node-listen 127.0.0.1:22283 --mongo-listen 127.0.0.1:22284"
serve() { "$C" serve $A >"$D/out" 2>"$D/err" & P=$!; sleep 3; }
user() { "$C" users add "$1" --name "$1" --role admin --data "$D" >/dev/null 2>&1 || echo "no user $1"; }
serve; kill $P; wait $P; user first; serve
"$C" node backup --data "$D" --to "$D/backup" >/dev/null; kill $P; wait $P
user second; serve; kill $P; wait $P                      # the views have seen what the backup has not
mv "$D/eventstore" "$D/newer"; "$C" node restore --from "$D/backup" --data "$D" >/dev/null
"$C" serve $A >"$D/out" 2>"$D/err" & P=$!; sleep 5
if kill -0 $P 2>/dev/null; then echo "it serves"; kill $P; else wait $P; echo "it ended with exit status $?, and this is all it said:"; grep -v '"INFO"' "$D/err" "$D/out"; fi
echo "expected: views built anew, or an error that says what to do, and an exit status that is not 0"
