#!/bin/sh
# Checks that a server replies: sends one line, `ECO|MESSAGE`, and expects the same line back.
#
#   scripts/validar-echo-server.sh [MESSAGE]
#
# With SERVER_ADDRESS set it asks that address, from this machine; this needs bash alone. Otherwise, if Docker has a
# container `server`, it asks that one, from a container of its network, so that no port has to be published;
# a container that is stopped is a failure, whatever else listens on this machine. Without such a container it asks
# 127.0.0.1:12345. ECHO_SECONDS is the time for the connection and the reply (5).
#
# With TLS_AUTHORITY, TLS_CERTIFICATE and TLS_KEY set, which name files in PEM, it speaks TLS, from this machine and
# with `openssl`. Any certificate that the authority signed for a client suffices.
#
# Prints `result: success` and exits with 0, or prints `result: fail` and exits with 1.
set -eu

seconds=${ECHO_SECONDS:-5}

say() { echo "validar-echo-server: $*" >&2; }

usage() {
    echo "usage: $0 [MESSAGE]    (one line without ; and |)" >&2
    exit 2
}

[ $# -le 1 ] || usage
case ${1-} in -h | --help) usage ;; esac
message=${1-hola}
message=${message#'ECO|'}
case $message in
    *[\;\|]* | *"
"*) usage ;;
esac
line="ECO|$message"

inspect() { docker inspect --type container --format "$1" server; }

# Asks from a container in the server's network, or in TLS from this machine.
ask_in_docker() {
    state=$(inspect '{{.State.Status}}') || return 1
    [ "$state" = running ] || { say "the container 'server' is not running but $state"; return 1; }
    # shellcheck disable=SC2016 # expanded by Docker
    network=$(inspect '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' | head -n 1)
    [ -n "$network" ] || { say "the container 'server' is on no network"; return 1; }
    # By address, because Docker's default network resolves no names.
    host=$(inspect '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}' | head -n 1)
    port=$(inspect '{{range .Config.Env}}{{println .}}{{end}}' | sed -n 's/^SERVER_ADDRESS=.*://p')
    if [ -n "${TLS_AUTHORITY-}" ]; then
        name=server
        ask_directly "$host:${port:-12345}"
        return
    fi
    # The outer limit ends nc when a peer keeps it busy with an endless answer.
    # shellcheck disable=SC2016 # expanded by the shell in the container
    docker run --rm --network "$network" busybox:latest sh -c '
        printf "%s\n" "$1" | timeout "$4" nc -w "$4" "$2" "$3" | {
            IFS= read -r answer || { echo "no line came back" >&2; exit 1; }
            [ "$answer" = "$1" ] || { echo "came back: $answer" >&2; exit 1; }
        }' sh "$line" "$host" "${port:-12345}" "$seconds"
}

# Asks from this machine. bash can open a connection but cannot give up on one, so a process of its own opens it
# and is ended when its time is over; `wait` keeps bash from reporting that end on the terminal.
ask_directly() {
    say "asking $1 directly"
    host=${1%:*}
    host=${host#[}
    host=${host%]}
    name=${name:-$host}
    case $name in
        *:* | *[0-9].[0-9]*) verify=-verify_ip ;;
        *) verify=-verify_hostname ;;
    esac
    # shellcheck disable=SC2016 # expanded by bash
    bash -c '
        exec 4< <(
            if [ -n "${TLS_AUTHORITY-}" ]; then
                exec openssl s_client -connect "$5" -quiet -verify_quiet -noservername -verify_return_error "$6" "$7" \
                    -CAfile "$TLS_AUTHORITY" -cert "$TLS_CERTIFICATE" -key "$TLS_KEY" <<<"$1"
            fi
            exec 3<>"/dev/tcp/$2/$3" &&
            printf "%s\n" "$1" >&3 &&
            IFS= read -r answer <&3 &&
            printf "%s\n" "$answer"
        )
        asker=$!
        IFS= read -r -t "$4" answer <&4
        heard=$?
        { kill "$asker" && wait "$asker"; } 2>/dev/null
        [ "$heard" -eq 0 ] || { echo "no line came back" >&2; exit 1; }
        [ "$answer" = "$1" ] || { echo "came back: $answer" >&2; exit 1; }
    ' bash "$line" "$host" "${1##*:}" "$seconds" "$1" "$verify" "$name"
}

# Docker's answer is empty when there is no such container, and an error when Docker itself does not answer.
container=
if [ -z "${SERVER_ADDRESS-}" ] && command -v docker >/dev/null 2>&1; then
    container=$(docker ps --all --quiet --filter 'name=^/server$') \
        || say "Docker does not answer, so its containers are not asked"
fi
if [ -n "$container" ]; then ask=ask_in_docker; else ask=ask_directly; fi
if "$ask" "${SERVER_ADDRESS:-127.0.0.1:12345}"; then
    echo "action: test_echo_server | result: success"
else
    echo "action: test_echo_server | result: fail"
    exit 1
fi
