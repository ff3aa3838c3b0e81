#!/usr/bin/env bash
# A whole lottery on this machine, without Docker: builds the programs, starts a
# server in a scratch directory, lets the agencies of agencies/ send their bets,
# and prints their winners and the paths of the results.
#
#   scripts/sorteo-local.sh
#
# SORTEO_PROGRAMS names a directory with `server` and `client`. Without it the programs are built.
set -euo pipefail

if [ $# -gt 0 ]; then
    echo "usage: $0    (no arguments; the agencies are those of agencies/)" >&2
    exit 2
fi

# The most time that the server may take to listen, or to stop.
TENTHS_MAX=100

root=$(dirname "$(dirname "$(readlink -f "$0")")")
cd "$root"
scratch=
server=
client=

# stop PID: ends a process that this script started, and waits for its end.
stop() {
    local tenth
    for tenth in $(seq 0 "$TENTHS_MAX"); do
        kill -0 "$1" 2>/dev/null || break
        # Once a second, because a signal is lost if the process is still a copy of this shell.
        [ $((tenth % 10)) -ne 0 ] || kill -TERM "$1" 2>/dev/null || true
        sleep 0.1
    done
    if kill -KILL "$1" 2>/dev/null; then
        echo "sorteo-local: process $1 did not end on SIGTERM and was killed" >&2
    fi
    wait "$1"
}

# Leaves no process running, however the script ends.
cleanup() {
    [ -z "$client" ] || stop "$client" || true
    [ -z "$server" ] || stop "$server" || true
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

die() {
    echo "sorteo-local: $1" >&2
    [ -z "${2-}" ] || { tail -n 20 "$2" >&2; echo "sorteo-local: the logs are in $scratch" >&2; }
    exit 1
}

shopt -s nullglob
files=(agencies/agency-*.csv)
[ ${#files[@]} -gt 0 ] || die "no agency-N.csv in $root/agencies"
for agency in $(seq ${#files[@]}); do
    [ -e "agencies/agency-$agency.csv" ] \
        || die "${#files[@]} agencies are numbered from 1 to ${#files[@]}, but there is no $root/agencies/agency-$agency.csv"
done

programs=${SORTEO_PROGRAMS-}
if [ -z "$programs" ]; then
    cargo build --release --locked --bins
    metadata=$(cargo metadata --locked --no-deps --format-version 1)
    programs=$(sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p' <<<"$metadata")/release
fi
scratch=$(mktemp -d "${TMPDIR:-/tmp}/sorteo-local.XXXXXX")

# The caller's environment may describe another lottery.
unset CLI_ID NOMBRE APELLIDO DOCUMENTO NACIMIENTO NUMERO
export BETS_FILE=$scratch/bets.csv DRAW_FILE=$scratch/sorteo.toml CLI_AGENCIES_DIR=$root/agencies
export AGENCIES=${#files[@]} LOG_LEVEL=info

# On a free port, which the log tells. The log exists before the server, so that it can be read at once.
: >"$scratch/server.log"
"$programs/server" --address 127.0.0.1:0 </dev/null >"$scratch/server.out" 2>"$scratch/server.log" &
server=$!
address=
for _ in $(seq "$TENTHS_MAX"); do
    address=$(sed -n '/action: accept_connections | result: in_progress/{s/.*address: \([^ ]*\).*/\1/p;q;}' "$scratch/server.log")
    [ -z "$address" ] || break
    kill -0 "$server" 2>/dev/null || die "the server ended before it listened:" "$scratch/server.log"
    sleep 0.1
done
[ -n "$address" ] || die "the server does not listen:" "$scratch/server.log"

# In the background, because the shell handles a signal at once only while it waits.
"$programs/client" --server "$address" </dev/null >"$scratch/winners.csv" 2>"$scratch/client.log" &
client=$!
echo "sorteo-local: ${#files[@]} agencies send their bets to $address" >&2
code=0
wait "$client" || code=$?
client=
[ "$code" -eq 0 ] || die "the agencies ended with exit code $code:" "$scratch/client.log"

code=0
stop "$server" || code=$?
server=
[ "$code" -eq 0 ] || die "the server ended with exit code $code:" "$scratch/server.log"

# Each line of bets.csv is a bet, and so is each line of an agency's file that is not empty.
sold=0
for agency in $(seq ${#files[@]}); do
    bets=$(LC_ALL=C grep -Ecv $'^(\xef\xbb\xbf)?\r?$' "agencies/agency-$agency.csv" || true)
    sold=$((sold + bets))
    awk -F, -v agency="$agency" -v bets="$bets" '
        $1 == agency { documents = documents " " $2; winners++ }
        END { printf "agency %d: %d %s, %d %s%s%s\n", agency, bets, bets == 1 ? "bet" : "bets", winners, winners == 1 ? "winner" : "winners", winners ? ":" : "", documents }
    ' "$scratch/winners.csv"
done
stored=$(grep -c '' "$BETS_FILE" || true)
echo "bets:    $BETS_FILE ($stored lines)"
echo "draw:    $DRAW_FILE"
echo "logs:    $scratch/server.log, $scratch/client.log"
[ "$stored" -eq "$sold" ] || die "the agencies sold $sold bets, and $stored are stored"
[ -s "$DRAW_FILE" ] || die "the draw was held, but $DRAW_FILE is missing"
