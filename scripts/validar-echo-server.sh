#!/bin/sh
# Does the server echo? Sends one line, `ECO|MESSAGE`, and wants the same line back.
#
#   scripts/validar-echo-server.sh [MESSAGE]
#
# With a container `server` up, the question comes from a container of its
# network: no port has to be published, and nothing to be installed here.
# With none it comes from this machine, to SERVER_ADDRESS, and takes bash alone.
#
# Exit code 0 and `result: success`, or 1 and `result: fail`.
set -eu

# How long an answer may take, the connection included.
SECONDS_MAX=5

say() { echo "validar-echo-server: $*" >&2; }

usage() {
    echo "usage: $0 [MESSAGE]    (one line; asks SERVER_ADDRESS where no container 'server' is up)" >&2
    exit 2
}

[ $# -le 1 ] || usage
message=${1-hola}
case $message in
    *"
"*) usage ;;
    'ECO|'*) line=$message ;;
    *) line="ECO|$message" ;;
esac

# server_is_up: whether there is a running container `server`; Docker says itself what it misses.
server_is_up() {
    command -v docker >/dev/null 2>&1 || return 1
    running=$(docker inspect --type container --format '{{.State.Running}}' server) || return 1
    [ "$running" = true ] || { say "the container 'server' is not running"; return 1; }
}

# Asks from within the server's network.
ask_in_docker() {
    network=$(docker inspect --type container \
        --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' server | head -n 1)
    [ -n "$network" ] || { say "the container 'server' is on no network"; return 1; }
    # By address, since names are not looked up on Docker's default network.
    host=$(docker inspect --type container \
        --format '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}' server | head -n 1)
    port=$(docker inspect --type container \
        --format '{{range .Config.Env}}{{println .}}{{end}}' server | sed -n 's/^SERVER_ADDRESS=.*://p')
    # The outer limit is for a peer that keeps nc busy with an endless answer.
    # shellcheck disable=SC2016 # expanded by the shell in the container
    docker run --rm --network "$network" busybox:latest sh -c '
        printf "%s\n" "$1" | timeout "$4" nc -w "$4" "$2" "$3" | {
            IFS= read -r answer || { echo "no line came back" >&2; exit 1; }
            [ "$answer" = "$1" ] || { echo "came back: $answer" >&2; exit 1; }
        }' sh "$line" "$host" "${port:-12345}" "$SECONDS_MAX"
}

# Asks from here. bash alone can open a connection, but not give up on one: so
# that happens in a process of its own, whose answer is waited for with a limit.
ask_directly() {
    address=${SERVER_ADDRESS:-127.0.0.1:12345}
    say "asking $address directly"
    host=${address%:*}
    host=${host#[}
    # shellcheck disable=SC2016 # expanded by bash
    bash -c '
        exec 4< <(
            exec 3<>"/dev/tcp/$2/$3" &&
            printf "%s\n" "$1" >&3 &&
            IFS= read -r answer <&3 &&
            printf "%s\n" "$answer"
        )
        asker=$!
        IFS= read -r -t "$4" answer <&4
        heard=$?
        kill "$asker" 2>/dev/null
        [ "$heard" -eq 0 ] || { echo "no line came back" >&2; exit 1; }
        [ "$answer" = "$1" ] || { echo "came back: $answer" >&2; exit 1; }
    ' bash "$line" "${host%]}" "${address##*:}" "$SECONDS_MAX"
}

if server_is_up; then ask=ask_in_docker; else ask=ask_directly; fi
if "$ask"; then
    echo "action: test_echo_server | result: success"
else
    echo "action: test_echo_server | result: fail"
    exit 1
fi
