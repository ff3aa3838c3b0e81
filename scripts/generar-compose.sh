#!/bin/sh
# Writes a compose file for a central and N agencies: `server`, `client1` to
# `clientN`. docker-compose-dev.yaml is its output for 5 agencies.
#
#   scripts/generar-compose.sh FILE N [tls]
#
# With `tls` they speak TLS, with the files that `scripts/generar-certificados.sh tls N` makes beside FILE, and the list
# of revoked certificates if there is one. CLI_AGENCIES_DIR names the directory with agency-1.csv to agency-N.csv, beside
# FILE or absolute (agencies).
set -eu

# 172.25.125.0/24 has 253 addresses for containers; the server takes one, and
# scripts/validar-echo-server.sh takes one for a moment.
AGENCIES_MAX=250

# Writes nothing: the arguments are checked first.
refuse() {
    echo "generar-compose: $*" >&2
    echo "usage: $0 FILE N [tls]    (N agencies, 0 to $AGENCIES_MAX; 0 is a server alone)" >&2
    exit 2
}

server() {
    cat <<'YAML'
services:
  server:
    container_name: server
    image: server:latest
    # Builds changed sources, and keeps Compose v2 from asking a registry for an image that exists only here.
    pull_policy: build
    build:
      context: .
      dockerfile: Dockerfile.server
YAML
    build_arguments
    cat <<'YAML'
    # The settings that have to differ inside a container; all others come from config.toml.
    environment:
      - SERVER_ADDRESS=0.0.0.0:12345
      - BETS_FILE=/data/bets.csv
      - DRAW_FILE=/data/sorteo.toml
YAML
    # A server alone waits for as many agencies as config.toml says, because a lottery needs one.
    [ "$1" -eq 0 ] || cat <<YAML
      # As many as there are clients below. It takes precedence over lottery.agencies in config.toml.
      - AGENCIES=$1
YAML
    identity server
    [ -z "$revoked" ] || echo '      - TLS_REVOKED=tls/revoked.pem'
    cat <<'YAML'
    volumes:
      - ./config.toml:/app/config.toml:ro
      - bets:/data
YAML
    identity_files server
    [ -z "$revoked" ] || echo '      - ./tls/revoked.pem:/app/tls/revoked.pem:ro'
    cat <<'YAML'
    networks:
      - testing_net
    # A stop takes well under a second unless a disk is slow to finish a write.
    stop_grace_period: 10s
    read_only: true
    cap_drop:
      - ALL
    security_opt:
      - no-new-privileges:true
YAML
}

# With TLS both programs are built with the feature, and each container gets its certificate, its key and the CA.
build_arguments() {
    [ -z "$tls" ] || printf '%s\n' '      args:' '        - FEATURES=tls'
}

# identity NAME: the variables that name them.
identity() {
    [ -z "$tls" ] || cat <<YAML
      - TLS_CERTIFICATE=tls/$1.pem
      - TLS_KEY=tls/$1.key
      - TLS_AUTHORITY=tls/authority.pem
YAML
}

# identity_files NAME: the mounts of the files.
identity_files() {
    [ -z "$tls" ] || cat <<YAML
      - ./tls/$1.pem:/app/tls/$1.pem:ro
      - ./tls/$1.key:/app/tls/$1.key:ro
      - ./tls/authority.pem:/app/tls/authority.pem:ro
YAML
}

# The part that all agencies share.
agency() {
    cat <<'YAML'
x-client: &client
  image: client:latest
  # client1 builds the image for all, because each build would leave an untagged image behind.
  pull_policy: never
YAML
    [ -n "$tls" ] || cat <<YAML
  volumes:
    - ./config.toml:/app/config.toml:ro
    - $directory:/app/agencies:ro
YAML
    cat <<'YAML'
  networks:
    - testing_net
  # Does not wait until the server is ready, because a client retries until it is.
  depends_on:
    - server
  stop_grace_period: 5s
  read_only: true
  cap_drop:
    - ALL
  security_opt:
    - no-new-privileges:true

YAML
}

client() {
    cat <<YAML

  client$1:
    <<: *client
    container_name: client$1
    environment:
      - CLI_ID=$1
      - CLI_SERVER_ADDRESS=server:12345
YAML
    if [ -n "$tls" ]; then
        identity "agency-$1"
        cat <<YAML
    volumes:
      - ./config.toml:/app/config.toml:ro
      - $directory:/app/agencies:ro
YAML
        identity_files "agency-$1"
    fi
    [ "$1" -eq 1 ] || return 0
    cat <<'YAML'
    pull_policy: build
    build:
      context: .
      dockerfile: Dockerfile.client
YAML
    build_arguments
}

network_and_volume() {
    cat <<'YAML'

networks:
  testing_net:
    ipam:
      driver: default
      config:
        - subnet: 172.25.125.0/24

# The lottery's files. `down` keeps them, `down -v` removes them.
volumes:
  bets:
YAML
}

compose() {
    echo "# Made by scripts/generar-compose.sh for $1 agencies${tls:+ in TLS}: change that script rather than this file."
    echo
    [ "$1" -eq 0 ] || agency
    server "$1"
    agency=1
    while [ "$agency" -le "$1" ]; do
        client "$agency"
        agency=$((agency + 1))
    done
    network_and_volume
}

[ $# -eq 2 ] || [ $# -eq 3 ] || refuse "two or three arguments are needed, not $#"
[ -n "$1" ] || refuse "FILE is empty"
[ ! -d "$1" ] || refuse "$1 is a directory"
case $2 in
    '' | *[!0-9]*) refuse "'$2' is no number of agencies" ;;
esac
tls=${3-}
[ -z "$tls" ] || [ "$tls" = tls ] || refuse "'$tls' is not tls"
[ $# -eq 2 ] || [ -n "$tls" ] || refuse "the third argument is empty"
agencies=${2#"${2%%[!0]*}"}
agencies=${agencies:-0}
# By length first: a number of many digits is more than the shell can compare.
if [ ${#agencies} -gt 3 ] || [ "$agencies" -gt "$AGENCIES_MAX" ]; then
    refuse "$2 agencies are more than the network 172.25.125.0/24 has room for"
fi
directory=${CLI_AGENCIES_DIR:-agencies}
case $directory in
    *[!A-Za-z0-9._/-]*) refuse "CLI_AGENCIES_DIR is '$directory'; only letters, digits and . _ - / may be in it here" ;;
    # Compose takes a name without a slash for a volume.
    /* | ./* | ../*) ;;
    *) directory=./$directory ;;
esac

# Docker would make a directory of a list that is not there.
revoked=
[ -z "$tls" ] || [ ! -f "$(dirname -- "$1")/tls/revoked.pem" ] || revoked=yes

text=$(compose "$agencies")
{ printf '%s\n' "$text" >"$1"; } || exit 1
