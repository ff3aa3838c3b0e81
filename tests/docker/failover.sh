#!/usr/bin/env bash
# Failover to a second machine, as docs/operations.md has it: the central's files are on GlusterFS, replicated between
# two machines, with an arbiter on a third. The machine that serves dies, or is cut off, in the middle of a lottery.
#
#   tests/docker/failover.sh
#
# Prints a line for each check, as checks.sh says. Exits with 1 if any failed. Takes some eight minutes, because an
# agency that waits for the draw asks again only after three.
#
# A machine is a container. Its own mounts need /dev/fuse and CAP_SYS_ADMIN. The volume and the mounts are made by the
# commands of docs/operations.md. DOCKER_HELPERS names a directory with make-base-images.sh, for machines that reach no
# registry. Images, containers and networks have names of their own, and are removed at the end; base images are kept.
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=checks.sh
source "$root/tests/docker/checks.sh"
unset WINNING_NUMBER

PROJECT=loteria-failover-tests
STORAGE=$PROJECT-storage
LOTTERY=$PROJECT-lottery
MACHINES=(one two three)
FILES=/var/lib/loteria
BRICK=/srv/lottery/brick
LOCAL=/srv/lottery/local
WINNERS=9
PORT=12345

# Only a failure reaches this limit.
RUN_SECONDS_MAX=400

# --- Machines ---

name() { echo "$PROJECT-$1"; }

# on MACHINE COMMAND...
on() { docker exec "$(name "$1")" "${@:2}"; }
server() { docker exec -u 10001:10001 -w "$FILES" "$(name "$1")" server --bets bets.csv --draw sorteo.toml "${@:2}"; }

machine_image() {
    docker build -t "$PROJECT-machine" - <<DOCKERFILE
FROM $PROJECT-server AS server
FROM $PROJECT-client AS client
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends glusterfs-server glusterfs-client procps \
    && rm -rf /var/lib/apt/lists/* && install -d $FILES
COPY --from=server /usr/local/bin/server /usr/local/bin/server
COPY --from=client /usr/local/bin/client /usr/local/bin/client
CMD ["glusterd", "--no-daemon"]
DOCKERFILE
}

machine_starts() {
    docker run -d --init --cap-add SYS_ADMIN --security-opt apparmor=unconfined --device /dev/fuse -v "${BRICK%/*}" \
        --name "$(name "$1")" --hostname "$1" --network "$STORAGE" --network-alias "$1" "$PROJECT-machine"
}

# documented COMMAND: the lines of the section on failover that begin with this command.
documented() { sed -n '/^## Failover/,/^## [^F]/s/^    '"$1"' /'"$1"' /p' "$root/docs/operations.md"; }

gluster_answers() { on "$1" gluster peer status; }
peers_are_connected() { equal "connected peers of one" "$(on one gluster peer status | grep -c 'Peer in Cluster (Connected)')" 2; }

# One after the other: a peer that was probed takes a moment to be connected.
volume_is_made() {
    local command
    while read -r command; do
        echo "$command"
        on one bash -c "$command" </dev/null || return
        case $command in
            *"peer probe three") within "$STEP_SECONDS_MAX" peers_are_connected || return ;;
            *"volume start"*) return 0 ;;
        esac
    done < <(documented gluster)
    echo "no command of the page starts the volume" >&2
    return 1
}

mounts() { on "$1" bash -c "$(documented mount)"; }

mounted() { on "$1" mountpoint -q "$FILES" && on "$1" touch "$FILES/mounted" && on "$1" rm "$FILES/mounted"; }

# The heal is asked for, because the volume looks for something to heal only every ten minutes.
healed() {
    on two gluster volume heal lottery || return
    equal "bricks without anything to heal" "$(on two gluster volume heal lottery info | grep -c '^Number of entries: 0$')" 3 \
        && equal "copies" "$(copy one)" "$(copy two)"
}
copy() { on "$1" sh -c "cd $BRICK && sha256sum bets.csv bets.journal sorteo.toml"; }

machine_comes_back() {
    check "$1: the name is no longer machine one's" docker network disconnect "$LOTTERY" "$(name one)"
    check "$1: it is started again" docker start "$(name one)"
    check "$1: and mounts the files" within "$STEP_SECONDS_MAX" mounts one
}

# --- The lottery ---

log_of() { on "$1" cat /tmp/server.log; }
logged() { log_of "$1" | grep -F -- "$2" >/dev/null || { log_of "$1" | tail -n 30; echo "not logged on $1: $2"; return 1; } >&2; }
listens() { logged "$1" "action: accept_connections | result: in_progress"; }

# serves MACHINE: has the name by which the agencies know the central, and starts the server until it ends well.
serves() {
    # The log of an earlier start would be taken for this one's.
    on "$1" rm -f /tmp/server.log && docker network connect --alias central "$LOTTERY" "$(name "$1")" || return
    docker exec -d -u 10001:10001 -w "$FILES" "$(name "$1")" bash -c \
        "until server --address 0.0.0.0:$PORT >>/tmp/server.log 2>&1; do sleep 0.2; done"
}

refused() {
    local code=0
    timeout "$STEP_SECONDS_MAX" docker exec -u 10001:10001 -w "$FILES" "$(name two)" server --address 0.0.0.0:$PORT || code=$?
    equal "exit code" "$code" 1
}

agencies_start() {
    docker run -d --name "$(name agencies)" --network "$LOTTERY" -v "$root/agencies:/app/agencies:ro" \
        -e CLI_SERVER_ADDRESS=central:$PORT -e CLI_BATCH_MAX_AMOUNT=10 -e CLI_BATCH_PERIOD_MS=50 "$PROJECT-client"
}
agencies_logged() { docker logs "$(name agencies)" 2>&1 | grep -F "$1" >/dev/null; }
agencies_end() {
    equal "exit code" "$(timeout "$RUN_SECONDS_MAX" docker wait "$(name agencies)")" 0 \
        || { docker logs "$(name agencies)" 2>&1 | tail -n 30 >&2; return 1; }
}
winners_told() { docker logs "$(name agencies)" 2>/dev/null | wc -l; }

bets_stored() { on two cat "$FILES/bets.csv"; }
bets_on() { on "$1" cat "$FILES/bets.csv" | wc -l; }
mid_run() { test "$1" -gt 0 && test "$1" -lt "$(bets_sold)"; }

# bet_for HOST:PORT NETWORK: one bet of agency 1; exits with its client's code.
bet_for() {
    docker run --rm --network "$2" -e CLI_ID=1 -e CLI_SERVER_ADDRESS="$1" -e CLI_RETRY_FOR_MS=3000 -e CLI_REPLY_TIMEOUT_MS=10000 \
        -e NOMBRE=Ana -e APELLIDO=Paz -e DOCUMENTO=30904465 -e NACIMIENTO=1999-03-17 -e NUMERO=7574 "$PROJECT-client"
}
fails() { ! "$@"; }

seconds_since() { awk -v now="$EPOCHREALTIME" -v then="$1" 'BEGIN { printf "%.1f s", now - then }'; }
attempts_refused() { log_of two | grep -c "another server is using it"; }

# seconds_of DIRECTORY AGENCIES SETTING...: how long the agencies of a lottery take, all of it within machine one.
seconds_of() {
    on one bash -c "
        cd $1 && export CLI_SERVER_ADDRESS=127.0.0.1:23456 CLI_AGENCIES_DIR=$LOCAL/$2 ${*:3} || exit
        server --bets bets.csv --draw sorteo.toml --address 127.0.0.1:23456 --exit-after-draw --log-level error &
        until client --status >/dev/null 2>&1; do sleep 0.1; done
        TIMEFORMAT=%R
        time client --log-level error --quiet >/dev/null && wait && rm bets.csv bets.journal sorteo.toml" 2>&1
}

# speed WHAT BATCHES AGENCIES SETTING...: on GlusterFS and on the machine's own disk by turns; says the median of three.
speed() {
    local what=$1 batches=$2 turn replicated=() own=()
    shift 2
    for turn in 1 2 3; do
        replicated[turn]=$(seconds_of "$FILES" "$@") || { echo "${replicated[turn]}" >&2; return 1; }
        own[turn]=$(seconds_of "$LOCAL" "$@") || { echo "${own[turn]}" >&2; return 1; }
    done
    # Past `check`, which shows only what failed.
    say "$what a second: $(a_second "$batches" "${replicated[@]}") on GlusterFS, $(a_second "$batches" "${own[@]}") on the machine's own disk" >&3
}
a_second() { printf '%s\n' "${@:2}" | sort -n | awk -v count="$1" 'NR == 2 { printf "%d", count / $1 }'; }

# The agencies as they are, and each a hundred times.
copy_agencies() {
    on one mkdir -p "$LOCAL/small" "$LOCAL/large" && tar -C agencies -c . | docker exec -i "$(name one)" tar -C "$LOCAL/small" -x \
        && on one bash -c "cd $LOCAL/small && for file in *.csv; do for copy in {1..100}; do cat \$file; echo; done | grep . >../large/\$file; done"
}

# lottery NAME COMMAND...: a lottery on machine one, which COMMAND takes away in the middle; machine two ends it.
lottery() {
    local what=$1 begun
    shift
    check "$what: machine one serves" serves one
    check "$what: and listens" within "$STEP_SECONDS_MAX" listens one
    check "$what: a second server is refused" refused
    check "$what: the agencies start" agencies_start
    check "$what: an agency waits for the draw" within "$STEP_SECONDS_MAX" agencies_logged "action: wait_for_draw | result: in_progress"
    check "$what: bets are missing" mid_run "$(bets_on one)"
    begun=$EPOCHREALTIME
    "$@"
    check "$what: machine two serves" serves two
    check "$what: and listens, once the lock is free" within "$STEP_SECONDS_MAX" listens two
    say "$what: machine two listens after $(seconds_since "$begun"); $(attempts_refused) attempts were refused"
    check "$what: bets are still missing" mid_run "$(log_of two | sed -n 's/.*open_ledger.* bets: \([0-9]*\).*/\1/p')"
    check "$what: the agencies end" agencies_end
    say "$what: the lottery ends after $(seconds_since "$begun")"
    check "$what: they were told their winners" equal winners "$(winners_told)" "$WINNERS"
    check "$what: every line is stored once" every_line_is_stored_once
    check "$what: the draw was held on machine two" logged two "action: sorteo | result: success"
    docker rm -f "$(name agencies)" >/dev/null
}

machine_dies() { check "$1: machine one is killed" docker kill "$(name one)"; }
# First from the storage, so that its server is asked for what it can no longer do.
machine_is_cut_off() {
    check "$1: machine one is cut off from the storage" docker network disconnect "$STORAGE" "$(name one)"
    check "$1: and from the agencies" docker network disconnect "$LOTTERY" "$(name one)"
}

# finished NAME: machine two is stopped, and the files are right on both machines.
finished() {
    check "$1: the server on machine two stops" on two pkill -TERM -x server
    check "$1: and is gone" within "$STEP_SECONDS_MAX" fails on two pgrep -x server
    check "$1: both machines have the same files" within "$STEP_SECONDS_MAX" healed
    check "$1: which machine one verifies" server one --verify
    check "$1: they are set aside for the next lottery" server two --new-draw
    docker network disconnect "$LOTTERY" "$(name two)" >/dev/null
}

# idle NAME: a server that is cut off without anything to do does not notice it; it must confirm nothing when it is back.
# No bet was stored meanwhile, so that it could not tell by the files either.
idle() {
    check "$1: machine one serves" serves one
    check "$1: and listens" within "$STEP_SECONDS_MAX" listens one
    machine_is_cut_off "$1"
    check "$1: machine two serves" serves two
    check "$1: and listens, once the lock is free" within "$STEP_SECONDS_MAX" listens two
    check "$1: machine one is connected again" docker network connect --alias one "$STORAGE" "$(name one)"
    check "$1: and sees the files again" within "$STEP_SECONDS_MAX" mounted one
    check "$1: its server still runs" on one pgrep -x server
    check "$1: but confirms nothing" fails bet_for "one:$PORT" "$STORAGE"
    check "$1: because its lock is lost" logged one "action: exit | result: fail"
    check "$1: no bet is stored" equal bets "$(bets_on two)" 0
    check "$1: machine two stores one" bet_for "central:$PORT" "$LOTTERY"
    check "$1: one bet is stored" equal bets "$(bets_on two)" 1
}

cleanup() {
    cleans_up
    # shellcheck disable=SC2033 # the engine has just answered
    docker ps -aq --filter "name=^$PROJECT-" | xargs -r docker rm -fv >/dev/null
    docker network rm "$STORAGE" "$LOTTERY" >/dev/null 2>&1
    docker rmi "$PROJECT-server" "$PROJECT-client" "$PROJECT-machine" >/dev/null 2>&1
}

# --- From the first to the last ---

docker info >/dev/null 2>&1 || skip_all "no Docker engine answers here" failover
[ -e /dev/fuse ] || skip_all "/dev/fuse is not there" failover

take_turns
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$root" || exit 1
exec 3>&1
check "base images" base_images "$(bases "$root"/Dockerfile.*)" || { summary; exit 1; }
check "the image of the server builds" docker build -f Dockerfile.server -t "$PROJECT-server" . || { summary; exit 1; }
check "the image of the client builds" docker build -f Dockerfile.client -t "$PROJECT-client" . || { summary; exit 1; }
check "the image of a machine builds" machine_image || { summary; exit 1; }
check "networks" docker network create "$STORAGE"
check "of the storage and of the lottery" docker network create "$LOTTERY"
for machine in "${MACHINES[@]}"; do check "machine $machine starts" machine_starts "$machine"; done
for machine in "${MACHINES[@]}"; do check "machine $machine runs GlusterFS" within "$STEP_SECONDS_MAX" gluster_answers "$machine"; done
check "the volume is made" volume_is_made || { summary; exit 1; }
for machine in one two; do check "machine $machine mounts it" within "$STEP_SECONDS_MAX" mounts "$machine" || { summary; exit 1; }; done
check "agencies with 700000 bets" copy_agencies
check "they are stored on GlusterFS and on a disk" speed "bets in batches of 120" "$(($(bets_sold) * 100))" large
check "and each agency's bets one by one" speed "bets one by one" "$(bets_sold)" small CLI_BATCH_MAX_AMOUNT=1 CLI_WINDOW=1
check "it is the server's" on one chown 10001:10001 "$FILES"

lottery "killed" machine_dies "killed"
machine_comes_back "killed"
finished "killed"

lottery "cut off" machine_is_cut_off "cut off"
check "cut off: machine one is connected again" docker network connect --alias one "$STORAGE" "$(name one)"
check "cut off: and sees the files again" within "$STEP_SECONDS_MAX" mounted one
check "cut off: its server has ended" within "$STEP_SECONDS_MAX" logged one "action: exit | result: fail"
check "cut off: and cannot start again while machine two serves" within "$STEP_SECONDS_MAX" logged one "another server is using it"
check "cut off: so it is given up" on one pkill -x bash
finished "cut off"

idle "idle"

summary
[ "$failed" -eq 0 ]
