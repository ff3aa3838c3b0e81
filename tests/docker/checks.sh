# shellcheck shell=bash
# The checks of this folder's tests, which source this file: they set `root`, the top of the project, before.
#
# Prints `ok - ...`, `not ok - ...` or `skip - ...` for each check; `summary` counts them in the last line.
set -uo pipefail
umask 022

helpers=${DOCKER_HELPERS:-$root/../shared/docker}

# Only a failure reaches this limit.
# shellcheck disable=SC2034 # the tests use it
STEP_SECONDS_MAX=60
# The limit of each call of the engine, which may build the programs. Only an engine that hangs reaches it.
ENGINE_SECONDS_MAX=1800

passed=0
failed=0
skipped=0

say() { printf '# %s\n' "$*"; }
skip() { printf 'skip - %s\n' "$*"; skipped=$((skipped + 1)); }

# check NAME COMMAND...: runs the command; shows its output if it fails.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ok - $name"
        return 0
    fi
    failed=$((failed + 1))
    echo "not ok - $name"
    # The whole text would bury the next line.
    printf '%s\n' "$output" | tail -n 40 | sed 's/^/#   /'
    return 1
}

docker() { engine docker "$@"; }
docker-compose() { engine docker-compose "$@"; }

# engine COMMAND...: ends the tests by SIGTERM if the engine hangs, because it would also keep all further calls.
exec {told}>&1
engine() {
    local start=$SECONDS code=0
    timeout --foreground --kill-after=10 "$ENGINE_SECONDS_MAX" "$@" || code=$?
    if [ $((SECONDS - start)) -ge "$ENGINE_SECONDS_MAX" ]; then
        say "the engine hangs: no end of \`$*\` within $ENGINE_SECONDS_MAX seconds" >&"$told"
        kill -TERM $$
    fi
    return "$code"
}

# cleans_up: at the beginning of a cleanup. It is not interrupted, and does not wait for long for an engine that hangs.
cleans_up() {
    trap - EXIT INT
    trap : TERM
    ENGINE_SECONDS_MAX=$STEP_SECONDS_MAX
}

# within SECONDS COMMAND...: repeats the command until it succeeds; keeps the output of the last try.
within() {
    local end=$((SECONDS + $1)) output
    shift
    until output=$("$@" 2>&1); do
        [ "$SECONDS" -lt "$end" ] || { printf '%s\ntime is over: %s\n' "$output" "$*" >&2; return 1; }
        sleep 0.2
    done
}

# equal WHAT ACTUAL EXPECTED
equal() {
    [ "$2" = "$3" ] || { printf '%s: %s instead of %s\n' "$1" "$2" "$3" >&2; return 1; }
}

summary() {
    echo "$passed passed, $failed failed$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
}

# skip_all REASON SUBJECT: ends the tests.
skip_all() {
    echo "SKIPPED, ALL OF IT: $1; nothing about $2 was tried"
    skipped=1
    summary
    exit 0
}

# take_turns: waits until no other run of this script is under way on this machine, because both would remove each other's
# containers. Whatever the script starts in the background has to end with it.
take_turns() {
    local lock
    lock="${TMPDIR:-/tmp}/loteria-docker-$(basename "$0").lock"
    exec {turn}>>"$lock" || exit 1
    flock -n "$turn" && return 0
    say "another run is under way; this one begins when it ends"
    flock "$turn"
}

# bases FILE...: the images that these Dockerfiles begin from.
bases() { sed -n 's/^FROM \([a-z][^ ]*\).*/\1/p' "$@" | sort -u; }

# base_images IMAGES...: pulls the images that are missing. If no registry gives them, DOCKER_HELPERS makes them.
base_images() {
    local missing=() image
    # shellcheck disable=SC2048 # the names of images have no spaces
    for image in $*; do
        docker image inspect "$image" >/dev/null 2>&1 || docker pull -q "$image" || missing+=("$image")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "no registry gave ${missing[*]}"
    "$helpers/make-base-images.sh"
}

# What tells one bet from another and is written one way only, whatever is quoted: the last three fields.
tail_fields() { tr -d '\r' | awk -F, '{ print $(NF - 2) "," $(NF - 1) "," $NF }'; }

# bets_sold [FILE...]: how many lines the agencies' files have, those of agencies/ by default. Not of cat, which joins
# a last line without an end with the next file's first.
bets_sold() {
    [ $# -gt 0 ] || set -- agencies/*.csv
    awk 'END { print NR }' "$@"
}

# Every line of every agency's file in agencies/ is in what `bets_stored` prints, once and in its order, and nothing else is.
every_line_is_stored_once() {
    local file agency stored
    stored=$(bets_stored) || return 1
    equal "lines of bets.csv" "$(wc -l <<<"$stored")" "$(bets_sold)" || return 1
    for file in agencies/*.csv; do
        agency=${file//[^0-9]/}
        diff <(grep "^$agency," <<<"$stored" | tail_fields) <(tail_fields <"$file") | head -n 5 || return 1
    done
}
