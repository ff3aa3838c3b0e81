#!/usr/bin/env bash
# The national lottery of examples/national with a real engine: three centrals, the gate, and the national draw on a
# Spark cluster of a master and two workers, one of which is killed in the middle.
#
#   tests/docker/national.sh
#
# Prints a line for each check, as checks.sh says. Exits with 1 if any failed.
#
# LOTERIA_NATIONAL_BETS sets how many bets there are, so that the draw takes long enough to be disturbed (2000000).
# DOCKER_HELPERS names a directory with make-base-images.sh, for machines that reach no registry. Needs cargo for the
# agencies' files. Images, containers and volumes have names of their own, and are removed at the end; base images are kept.
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=checks.sh
source "$root/tests/docker/checks.sh"
bets=${LOTERIA_NATIONAL_BETS:-2000000}
unset COMPOSE_FILE COMPOSE_PROFILES WINNING_NUMBER FORMAT
export COMPOSE_PROJECT_NAME=loteria-national-tests
export SERVER_IMAGE=$COMPOSE_PROJECT_NAME-server CLIENT_IMAGE=$COMPOSE_PROJECT_NAME-client NATIONAL_IMAGE=$COMPOSE_PROJECT_NAME-spark
CENTRALS=(north center south)

# Only a failure reaches these limits. On a busy machine the cluster alone takes five minutes to begin.
RUN_SECONDS_MAX=900
STEP_SECONDS_MAX=900

scratch=

cleanup() {
    cleans_up
    [ -n "$scratch" ] || return 0
    cd "$scratch/national" && docker compose down -v --remove-orphans >/dev/null 2>&1
    docker rmi "$SERVER_IMAGE" "$CLIENT_IMAGE" "$NATIONAL_IMAGE" >/dev/null 2>&1
    cd / && rm -rf --one-file-system "$scratch"
}

# --- Before ---

copy_example() {
    scratch=$(mktemp -d) && mkdir "$scratch/national" || return
    tar -C "$root/examples/national" -c --exclude=./agencies . | tar -C "$scratch/national" -x
}

# A build that reaches no index of packages takes the wheels that this machine can get.
spark_image() {
    docker compose build gate && return 0
    local version
    version=$(sed -n 's/^ARG PYSPARK_VERSION=//p' Dockerfile)
    python3 -m pip wheel -q --wheel-dir . "pyspark==$version" && docker compose build gate
}

# --- Looking ---

container() { docker compose ps -aq "$1"; }
logs() { docker compose logs --no-log-prefix "$1" 2>&1; }

# logged SERVICE TEXT. Not grep -q, which ends before the log does and makes the pipe fail.
logged() { logs "$1" | grep -F -- "$2" >/dev/null || { logs "$1" | tail -n 30; echo "not logged by $1: $2"; return 1; } >&2; }
not_logged() { ! logged "$1" "$2" 2>/dev/null || { echo "logged by $1: $2" >&2; return 1; }; }

# ends SERVICE CODE
ends() {
    equal "exit code of $1" "$(timeout "$RUN_SECONDS_MAX" docker wait "$(container "$1")")" "$2" || { logs "$1" | tail -n 30 >&2; return 1; }
}

file_of() { docker cp "$(container "$1"):/data/$2" - 2>/dev/null | tar -xO; }

no_draw_is_held() {
    local central
    for central in "${CENTRALS[@]}"; do
        if file_of "$central" sorteo.toml >/dev/null; then echo "$central has held its draw" >&2; return 1; fi
    done
}

# The draw's executors, one on each worker.
both_work() {
    local worker
    for worker in 1 2; do docker compose exec -T "spark-worker-$worker" sh -c 'cat /proc/[0-9]*/cmdline | grep -a [C]oarseGrainedExecutorBackend >/dev/null' || return 1; done
}

# The winners that the agencies were told, as central,agency,document.
winners_told() {
    local central
    for central in "${CENTRALS[@]}"; do
        docker logs "$(container "agencies-$central")" 2>/dev/null | sed "s/^/$central,/"
    done | sort
}

# written TABLE: a table of the national draw, without its header. A name may hold commas, so count from the ends.
written() { docker cp "$(container national-draw):/out/$1" - | tar -xO --wildcards '*.csv' | tail -n +2; }
winners_written() { written winners | awk -F, '{ print $1 "," $2 "," $(NF - 2) }' | sort; }

# The table of numbers, made from the centrals' files by other means.
numbers_by_awk() {
    local central
    for central in "${CENTRALS[@]}"; do file_of "$central" bets.csv; done |
        awk -F, '{ played[$NF + 0]++ } END { for (number = 0; number < 10000; number++) print number "," played[number] + 0 }'
}

same() { diff <($1) <($2) | head -n 10 >&2; [ "${PIPESTATUS[0]}" -eq 0 ]; }

# --- From the first to the last ---

docker info >/dev/null 2>&1 || skip_all "no Docker engine answers here" "the national lottery"
docker compose version >/dev/null 2>&1 || skip_all "docker compose is not installed" "the national lottery"

take_turns
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
copy_example || exit 1
export AGENCIES_DIR=$scratch/agencies
cd "$scratch/national" || exit 1
check "base images" base_images "$(bases "$root"/Dockerfile.* Dockerfile)" || { summary; exit 1; }
check "the image of the server builds" docker build -f "$root/Dockerfile.server" -t "$SERVER_IMAGE" "$root" || { summary; exit 1; }
check "the image of the client builds" docker build -f "$root/Dockerfile.client" -t "$CLIENT_IMAGE" "$root" || { summary; exit 1; }
check "the image of the cluster builds" spark_image || { summary; exit 1; }
check "the agencies of three centrals have $bets bets" "$root/examples/national/make-agencies.sh" "$bets" "$AGENCIES_DIR" || { summary; exit 1; }

say "images and bets took $SECONDS s"
check "three centrals and the gate start, and the agencies of two centrals" \
    docker compose up -d north center south gate agencies-north agencies-center
check "all agencies of north wait" within "$STEP_SECONDS_MAX" logged gate "north: 5 of 5 agencies wait"
check "all agencies of center wait" within "$STEP_SECONDS_MAX" logged gate "center: 3 of 3 agencies wait"
check "no draw is held" no_draw_is_held
check "the gate is killed" docker compose kill -s KILL gate
check "and started again" docker compose up -d --no-recreate gate
check "no draw is held by that" no_draw_is_held
check "the agencies of the third central start" docker compose up -d agencies-south
check "the gate ends" ends gate 0
check "it opened three draws" logged gate "opening 3 of 3 draws"
for central in "${CENTRALS[@]}"; do check "the agencies of $central end" ends "agencies-$central" 0; done

say "the draws were held after $SECONDS s"
check "the cluster starts" docker compose up -d spark-master spark-worker-1 spark-worker-2
check "the national draw starts" docker compose up -d --no-deps national-draw
check "it counts bets" within "$STEP_SECONDS_MAX" logged national-draw "counting bets"
check "on both workers" within "$STEP_SECONDS_MAX" both_work
check "a worker is killed" docker compose kill -s KILL spark-worker-1
check "in the middle" not_logged national-draw "counted"
check "the national draw ends all the same" ends national-draw 0
check "it lost the worker's executor" logged national-draw "Lost executor"
check "it counted every bet" logged national-draw "counted $(bets_sold "$AGENCIES_DIR"/*/*.csv) bets"
check "its winners are those that the agencies were told" same winners_written winners_told
check "there are some" test "$(winners_written | wc -l)" -gt 10
check "its table of numbers is the one that awk makes" same "written numbers" numbers_by_awk
say "the national draw was made after $SECONDS s"

check "down -v" docker compose down -v
summary
[ "$failed" -eq 0 ]
