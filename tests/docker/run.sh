#!/usr/bin/env bash
# Tests with a real engine what is promised of Docker: images, whole lotteries
# under both generations of Compose, stops, kills and cut networks mid-run, the
# echo script, the health check, the package for Debian.
#
#   tests/docker/run.sh
#
# Prints a line for each check, as checks.sh says. Exits with 1 if a check failed.
#
# Works on a copy of the project in a scratch directory, under a Compose project
# of its own. The names of containers and images are the project's, though: where
# containers of these names are there it refuses to start, and images of these
# names are given back as they were. It removes what it made and only that; base
# images are kept, as after any build.
#
# DOCKER_HELPERS names a directory with make-base-images.sh and install-compose.sh,
# for machines that reach no registry.
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=checks.sh
source "$root/tests/docker/checks.sh"
# The caller's own settings must not decide what is tried.
unset COMPOSE_FILE COMPOSE_PROFILES SERVER_ADDRESS CLI_AGENCIES_DIR ECHO_SECONDS TLS_AUTHORITY TLS_CERTIFICATE TLS_KEY
export COMPOSE_PROJECT_NAME=loteria-docker-tests
CONTAINERS=(server client{1..10})
IMAGES=(server:latest client:latest)
WINNERS=(2 3 3 1 0)

# Only a failure reaches this limit.
RUN_SECONDS_MAX=120

scratch=
tls_build=
beside=
compose=()
images_before=()

compose() { "${compose[@]}" "$@"; }

# --- Before and after ---

image_id() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null; }

remember_images_before() {
    local image
    for image in "${IMAGES[@]}"; do images_before+=("$(image_id "$image")"); done
}

# Each build may move the names on to other images.
remember_images_built() {
    local image
    for image in "${IMAGES[@]}"; do image_id "$image"; done >>"$scratch/images-built"
}

give_images_back() {
    local i id
    for i in "${!IMAGES[@]}"; do
        if [ -n "${images_before[i]}" ]; then
            docker tag "${images_before[i]}" "${IMAGES[i]}"
        else
            docker rmi "${IMAGES[i]}" >/dev/null 2>&1
        fi
    done
    [ -e "$scratch/images-built" ] || return 0
    sort -u "$scratch/images-built" | while read -r id; do
        case " ${images_before[*]} " in
            *" $id "*) ;;
            *) docker rmi "$id" >/dev/null 2>&1 ;;
        esac
    done
}

cleanup() {
    local job
    cleans_up
    for job in $tls_build $beside; do kill "$job" 2>/dev/null; done
    [ ${#compose[@]} -eq 0 ] || compose down -v --remove-orphans >/dev/null 2>&1
    stop_stand_in
    give_images_back
    docker rmi loteria-package:latest loteria-tls:latest >/dev/null 2>&1
    [ -z "$scratch" ] || { cd / && rm -rf --one-file-system "$scratch"; }
}

# The files that people have, as they are now, in a place where tests may change them.
copy_project() {
    scratch=$(mktemp -d) || return
    mkdir "$scratch/project" && cd "$scratch/project" || return
    tar -C "$root" -c --exclude=./target --exclude=./.git . | tar -x
}

# --- Looking at a lottery ---

exit_code() { docker inspect --format '{{.State.ExitCode}}' "$1"; }
running() { [ "$(docker inspect --format '{{.State.Running}}' "$1")" = true ]; }
logs() { docker logs "$1" 2>&1; }

# logged CONTAINER TEXT: whether its log has the text; the whole log is shown where it has not.
# Not grep -q, which would end before the log does and have the pipe end with an error.
logged() { logs "$1" | grep -F "$2" >/dev/null || { logs "$1" | tail -n 30; echo "not logged by $1: $2"; return 1; } >&2; }

up() { compose up --build -d && remember_images_built; }

afresh() { compose down -v && up; }

clients_end() {
    timeout "$RUN_SECONDS_MAX" docker wait client1 client2 client3 client4 client5 && return 0
    for container in server client{1..5}; do
        echo "--- $container"
        logs "$container" | tail -n 5
    done >&2
    return 1
}

clients_exit_with_0() {
    local client
    for client in client1 client2 client3 client4 client5; do
        equal "$client" "$(exit_code "$client")" 0 || { logs "$client" | tail -n 10 >&2; return 1; }
    done
}

# The winners of the committed agencies, each client's own.
winners_are_told() {
    local i
    for i in 1 2 3 4 5; do
        logged "client$i" "action: consulta_ganadores | result: success | cant_ganadores: ${WINNERS[i - 1]}" || return 1
    done
}

bets_stored() { docker cp server:/data/bets.csv - | tar -xO; }

# More than nothing and less than everything: what happens now, happens mid-run.
some_bets_are_stored() { [ "$(logs server | grep -c 'action: apuesta_recibida | result: success')" -ge 40 ]; }
not_all_bets_are_stored() {
    local stored
    stored=$(bets_stored | wc -l)
    if [ "$stored" -eq 0 ] || [ "$stored" -ge "$(bets_sold)" ]; then
        echo "$stored lines stored: not mid-run" >&2
        return 1
    fi
}

one_draw() { equal "draws" "$(logs server | grep -c 'action: sorteo | result: success')" 1; }

health_status() { docker inspect --format '{{.State.Health.Status}}' server; }
healthy() { equal health "$(health_status)" healthy; }
unhealthy() { equal health "$(health_status)" unhealthy; }

# set_key TABLE KEY VALUE: in the copied config.toml.
set_key() {
    awk -v table="[$1]" -v key="$2" -v value="$3" '
        /^\[/ { here = $0 == table }
        here && $1 == "#" && $2 == key && $3 == "=" { $0 = key " = " value; set = 1 }
        here && $1 == key && $2 == "=" { $0 = key " = " value; set = 1 }
        { print }
        END { exit !set }
    ' config.toml >config.new && cat config.new >config.toml && rm config.new
}

# Small batches with pauses, so that a run takes long enough to be disturbed: about twelve seconds.
slowly() { set_key client batch_max_amount 10 && set_key client batch_period_ms 50; }

# --- What is tried ---

# whole_lottery: from nothing to the winners, and what an operator does with it.
whole_lottery() {
    check "$name: images build, a bare \`up\` starts six containers" up || return
    check "$name: the five clients end" clients_end
    check "$name: with exit code 0" clients_exit_with_0
    check "$name: each has told its winners" winners_are_told
    check "$name: one draw was held" one_draw
    check "$name: every line is stored once" every_line_is_stored_once
    check "$name: the server runs as process 1, not as root, without capabilities" server_is_confined
    check "$name: its root file system is read-only" root_is_read_only
    check "$name: no port is published" equal ports "$(docker port server)" ""
    check "$name: it becomes healthy" within "$STEP_SECONDS_MAX" healthy
    check "$name: the health check leaves nothing in its log" equal lines "$(logs server | grep -F 127.0.0.1)" ""
    check "$name: the status, and nothing else on stdout" status_is_told
    check "$name: its network is 172.25.125.0/24" subnet_is_as_promised

    check "$name: down" compose down
    check "$name: up again" compose up -d
    check "$name: ends again" clients_end
    check "$name: with exit code 0 again" clients_exit_with_0
    check "$name: the same winners are told" winners_are_told
    check "$name: without another draw" no_draw
    check "$name: every line is still stored once" every_line_is_stored_once
    check "$name: docker stop of the server" docker stop server
    check "$name: ends it with exit code 0" exits_with_0 server
    check "$name: the stored bets can be copied out" bets_are_copied
    check "$name: and verified" files_are_verified
    check "$name: and set aside for the next lottery" files_are_set_aside

    check "$name: down -v" compose down -v
    # The engine removes what ran with --rm in its own time.
    check "$name: leaves nothing behind" within "$STEP_SECONDS_MAX" nothing_is_left
}

# By way of client2, since client1 would have its image built anew, which is told on stdout.
status_is_told() {
    local told
    told=$(compose run --rm --no-deps client2 --status 2>/dev/null)
    equal "first line" "$(head -n 1 <<<"$told")" "agency        bets  state" \
        && equal "last line" "$(tail -n 1 <<<"$told")" "draw: held over 7000 bets, 9 won"
}

bets_are_copied() {
    docker cp server:/data/bets.csv . && equal lines "$(wc -l <bets.csv)" "$(bets_sold)" && rm bets.csv
}

files_are_verified() {
    local told
    told=$(docker run --rm --volumes-from server server --bets /data/bets.csv --draw /data/sorteo.toml --verify) \
        && grep -F "/data/bets.csv: 7000 bets" <<<"$told" && grep -F "/data/sorteo.toml: held " <<<"$told"
}

files_are_set_aside() {
    docker run --rm --volumes-from server server --bets /data/bets.csv --draw /data/sorteo.toml --new-draw \
        && docker cp server:/data/bets.1.csv . && equal lines "$(wc -l <bets.1.csv)" "$(bets_sold)" && rm bets.1.csv
}

exits_with_0() { equal "exit code of $1" "$(exit_code "$1")" 0; }

no_draw() { equal draws "$(logs server | grep -c 'action: sorteo | result: success')" 0; }

server_is_confined() {
    equal "process 1" "$(docker exec server cat /proc/1/comm)" server \
        && equal "its user" "$(docker exec server awk '/^Uid:/ { print $2 }' /proc/1/status)" 10001 \
        && equal "its capabilities" "$(docker exec server awk '/^CapEff:/ { print $2 }' /proc/1/status)" 0000000000000000
}

root_is_read_only() {
    ! docker exec server touch /app/new 2>/dev/null && docker exec server test -w /data
}

network() { docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' server | head -n 1; }

subnet_is_as_promised() {
    equal subnet "$(docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' "$(network)")" 172.25.125.0/24
}

nothing_is_left() {
    local label=label=com.docker.compose.project=$COMPOSE_PROJECT_NAME
    equal containers "$(docker ps -aq --filter "$label")" "" \
        && equal networks "$(docker network ls -q --filter "$label")" "" \
        && equal volumes "$(docker volume ls -q --filter "$label")" ""
}

# compile_tls: in the background, beside tests that mostly wait. in_tls finds it in the cache of the builder.
compile_tls() {
    timeout "$ENGINE_SECONDS_MAX" docker build -q --build-arg FEATURES=tls -t loteria-tls:latest -f Dockerfile.server . >/dev/null 2>&1 &
    tls_build=$!
}

# changed_config: config.toml is read at each start, and a variable is stronger.
changed_config() {
    local before after
    check "$name: a lottery" up || return
    before=$(image_id server:latest)/$(image_id client:latest)
    check "$name: ended" clients_end
    check "$name: stopped" compose stop
    set_key client batch_max_amount 7 && set_key lottery winning_number 1234 || return
    check "$name: up on a changed config.toml" compose up -d
    check "$name: the client's config line has it" within "$STEP_SECONDS_MAX" logged client1 "batch_max_amount: 7 "
    check "$name: the server's config line has it" within "$STEP_SECONDS_MAX" logged server "winning_number: 1234"
    after=$(image_id server:latest)/$(image_id client:latest)
    check "$name: nothing was built for it" equal images "$after" "$before"
    sed -i 's/^      - CLI_ID=1$/&\n      - CLI_BATCH_MAX_AMOUNT=9/' docker-compose-dev.yaml
    check "$name: up on a changed compose file" compose up -d
    check "$name: its variable beats config.toml" within "$STEP_SECONDS_MAX" logged client1 "batch_max_amount: 9 "
    check "$name: for that client only" logged client2 "batch_max_amount: 7 "
    sed -i 's/AGENCIES=5/AGENCIES=3/' docker-compose-dev.yaml
    check "$name: up with another number of agencies" compose up -d server
    check "$name: the server refuses the volume" equal "exit code" "$(timeout "$RUN_SECONDS_MAX" docker wait server)" 1
    check "$name: and says why" logged server "the bets are of a lottery of 5 agencies, and this one has 3: go on with AGENCIES=5"
    check "$name: down -v" compose down -v
    reset_project
}

reset_project() { cp "$root/config.toml" config.toml && cp "$root/docker-compose-dev.yaml" docker-compose-dev.yaml; }

# disturbed NAME COMMAND...: a lottery that COMMAND disturbs mid-run ends as if it had not been.
disturbed() {
    local what=$1
    shift
    check "$what: a slow lottery starts" afresh || return
    check "$what: some bets are stored" within "$STEP_SECONDS_MAX" some_bets_are_stored
    check "$what: not all are" not_all_bets_are_stored
    "$@"
    check "$what: the five clients end" clients_end
    check "$what: with exit code 0" clients_exit_with_0
    check "$what: each has told its winners" winners_are_told
    check "$what: every line is stored once" every_line_is_stored_once
    check "$what: one draw was held" one_draw
    check "$what: the server stops" docker stop server
    check "$what: with exit code 0" exits_with_0 server
    compose down -v >/dev/null 2>&1
}

stop_of() {
    local container
    for container in "$@"; do
        check "docker stop $container mid-run" docker stop "$container"
        check "docker stop $container mid-run: exit code 0" exits_with_0 "$container"
        check "docker stop $container mid-run: it says so" logged "$container" "action: receive_signal | result: success | signal: SIGTERM"
    done
    check "mid-run still" not_all_bets_are_stored
    check "docker start $*" docker start "$@"
}

kill_of() {
    check "docker kill $1 mid-run" docker kill -s KILL "$1"
    check "docker kill $1 mid-run: exit code 137" equal "exit code" "$(exit_code "$1")" 137
    check "mid-run still" not_all_bets_are_stored
    check "docker start $1" docker start "$1"
}

# cut_of CLIENT AGENCY [OPTION...]: off the network until another agency's bets are all stored, then back.
cut_of() {
    local client=$1 other=$2 network
    shift 2
    network=$(network)
    check "$client is cut off" docker network disconnect "$network" "$client"
    check "the others go on" within "$STEP_SECONDS_MAX" all_stored_of "$other"
    check "$client still runs" running "$client"
    check "mid-run still" not_all_bets_are_stored
    check "$client comes back" docker network connect "$@" "$network" "$client"
}

all_stored_of() {
    [ "$(bets_stored | grep -c "^$1,")" -eq "$(awk 'END { print NR }' "agencies/agency-$1.csv")" ]
}

# stand_in COMMAND...: in place of our server, one that runs COMMAND for each connection.
stand_in() {
    # In a loop, since the ways of nc to go on listening differ.
    # shellcheck disable=SC2016 # expanded by the shell in the container
    docker run -d --name server --label loteria.stand-in --network "$COMPOSE_PROJECT_NAME-echo" \
        busybox:latest sh -c 'while nc -l -p 12345 -e "$@"; do :; done' sh "$@" && within "$STEP_SECONDS_MAX" listens
}
listens() { docker exec server netstat -ltn | grep :12345 >/dev/null; }

stop_stand_in() {
    # shellcheck disable=SC2033 # the engine has just answered
    docker ps -aq --filter label=loteria.stand-in | xargs -r docker rm -f >/dev/null
    docker network rm "$COMPOSE_PROJECT_NAME-echo" >/dev/null 2>&1
}

# echo_says RESULT CODE [TEXT]: what the script prints and exits with, and has on stderr.
echo_says() {
    local output code=0
    output=$(scripts/validar-echo-server.sh 2>echo.err) || code=$?
    equal stdout "$output" "action: test_echo_server | result: $1" && equal "exit code" "$code" "$2" \
        && { [ -z "${3-}" ] || grep -qF "$3" echo.err; } && return 0
    cat echo.err >&2
    return 1
}

nothing_of_busybox() { equal containers "$(docker ps -aq --filter ancestor=busybox:latest --filter "network=$(network)")" ""; }

# Whoever listens on this machine or does not, nothing is said of Docker.
this_machine_is_asked() {
    scripts/validar-echo-server.sh >/dev/null 2>echo.err
    equal "first line on stderr" "$(head -n 1 echo.err)" "validar-echo-server: asking 127.0.0.1:12345 directly"
}

stood_in() {
    docker network create "$COMPOSE_PROJECT_NAME-echo" >/dev/null
    check "echo script: a server that $1 is there" stand_in "${@:3}"
    check "echo script: one that $1: $2" echo_says "$2" "$([ "$2" = success ] && echo 0 || echo 1)"
    stop_stand_in
}

echo_script() {
    check "echo script: a server is up" compose up -d server || return
    remember_images_built
    check "echo script: success" within "$STEP_SECONDS_MAX" echo_says success 0
    check "echo script: the server logs the message" logged server "| msg: hola"
    check "echo script: nothing of it is left" within "$STEP_SECONDS_MAX" nothing_of_busybox
    check "one bet is stored" compose run --rm --no-deps -e NOMBRE='Santiago Lionel' -e APELLIDO=Lorca -e DOCUMENTO=30904465 \
        -e NACIMIENTO=1999-03-17 -e NUMERO=7574 client2
    check "one bet is stored: the server says so" logged server "action: apuesta_almacenada | result: success | dni: 30904465 | numero: 7574"
    check "echo script: the server is off its network" docker network disconnect "$(network)" server
    check "echo script: fail, and why" echo_says fail 1 "on no network"
    check "echo script: the server is stopped" docker stop server
    check "echo script: fail, and why" echo_says fail 1 "is not running but exited"
    SERVER_ADDRESS=127.0.0.1:1 check "echo script: an address that is given is asked instead" echo_says fail 1 "asking 127.0.0.1:1 directly"
    check "echo script: the server is removed" compose down -v
    check "echo script: this machine is asked instead" this_machine_is_asked
    stood_in "echoes" success head -n 1
    stood_in "alters the line" fail tr O 0
    ECHO_SECONDS=1 stood_in "stays silent" fail sleep 60
    stood_in "closes at once" fail true
}

# health: what becomes of a server that accepts nobody any more.
health() {
    check "health: a server is looked at every second" docker run -d --name server --label loteria.stand-in \
        --health-interval 1s --health-retries 1 server:latest --address 0.0.0.0:12345 --bets /data/bets.csv --draw /data/sorteo.toml
    check "health: it is healthy" within "$STEP_SECONDS_MAX" healthy
    check "health: it is stopped in its tracks" docker kill -s STOP server
    check "health: somebody connects" docker exec -d server bash -c 'exec 3<>/dev/tcp/127.0.0.1/12345; sleep 60'
    check "health: it is not healthy" within "$STEP_SECONDS_MAX" unhealthy
    check "health: it goes on" docker kill -s CONT server
    check "health: it is healthy again" within "$STEP_SECONDS_MAX" healthy
    stop_stand_in
}

# server_alone: what generar-compose.sh writes for none.
server_alone() {
    check "server alone: generated" scripts/generar-compose.sh docker-compose-dev.yaml 0
    check "server alone: up" compose up -d
    check "server alone: only it" equal containers "$(docker ps -a --format '{{.Names}}' --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" server
    check "server alone: it answers" within "$STEP_SECONDS_MAX" echo_says success 0
    check "server alone: down -v" compose down -v
    reset_project
}

# unreadable: a checkout under umask 077.
unreadable() {
    chmod 600 config.toml
    check "unreadable: up with a config.toml that is its owner's alone" compose up -d server
    check "unreadable: the server ends with exit code 2" equal "exit code" "$(docker wait server)" 2
    check "unreadable: and says who must be able to read it" logged server "config.toml: Permission denied (os error 13); user 10001 must be able to read it"
    check "unreadable: down" compose down
    chmod 644 config.toml
}

# ten_agencies: with files and a compose file of their own, as the README has them made.
ten_agencies() {
    local agency
    mkdir agencies-10
    for agency in 1 2 3 4 5 6 7 8 9 10; do cp "agencies/agency-$(((agency + 1) / 2)).csv" "agencies-10/agency-$agency.csv"; done
    CLI_AGENCIES_DIR=agencies-10 check "ten agencies: generated" scripts/generar-compose.sh docker-compose-10.yaml 10
    check "ten agencies: the bets of before are gone" compose down -v
    check "ten agencies: up" compose -f docker-compose-10.yaml up -d
    check "ten agencies: each ends with exit code 0" equal "exit codes" "$(docker wait client{1..10} | sort | uniq -c | xargs)" "10 0"
    check "ten agencies: every line is stored" equal lines "$(bets_stored | wc -l)" 14000
    compose -f docker-compose-10.yaml stop
    check "ten agencies: the files are verified" docker run --rm -e AGENCIES=10 --volumes-from server server --bets /data/bets.csv --draw /data/sorteo.toml --verify
    check "ten agencies: down -v" compose -f docker-compose-10.yaml down -v
}

# in_tls: a lottery between containers that each have a certificate, and who is turned away from it.
in_tls() {
    if ! command -v openssl >/dev/null; then skip "TLS: openssl is not installed"; return; fi
    check "TLS: certificates are made" scripts/generar-certificados.sh tls 5
    check "TLS: and a compose file" scripts/generar-compose.sh docker-compose-dev.yaml 5 tls
    wait "$tls_build"
    check "TLS: images build with it, six containers start" up || return
    check "TLS: the five clients end" clients_end
    check "TLS: with exit code 0" clients_exit_with_0
    check "TLS: each has told its winners" winners_are_told
    check "TLS: one draw was held" one_draw
    check "TLS: every line is stored once" every_line_is_stored_once
    check "TLS: the server knew who was who" logged server "| agencies: 3"
    check "TLS: it becomes healthy" within "$STEP_SECONDS_MAX" healthy
    check "TLS: the health check leaves nothing in its log" equal lines "$(logs server | grep -F 127.0.0.1)" ""
    check "TLS: the echo script, with a certificate" echo_in_tls tls success
    check "TLS: the echo script, without one" echo_says fail 1 "came back: ERROR|tls_required|"
    check "TLS: a client with another agency's certificate is refused" refused wrong_agency -e CLI_ID=3
    check "TLS: the log says so" logged server "action: authorize | result: fail | agency: 3 | authorized: 2"
    check "TLS: a client without a certificate is refused" refused tls_required -e TLS_CERTIFICATE= -e TLS_KEY= -e TLS_AUTHORITY=
    check "TLS: certificates of another authority are made" scripts/generar-certificados.sh other 5
    check "TLS: a client that has one is refused" refused "the peer rejected this side's certificate" \
        -v "$PWD/other/agency-2.pem:/app/tls/agency-2.pem:ro" -v "$PWD/other/agency-2.key:/app/tls/agency-2.key:ro"
    check "TLS: the echo script, with one of another authority" echo_in_tls other fail
    check "TLS: docker stop of the server" docker stop server
    check "TLS: ends it with exit code 0" exits_with_0 server
    check "TLS: down -v" compose down -v
    reset_project
}

# echo_in_tls DIRECTORY RESULT: what the script says with a certificate of DIRECTORY, which any agency's is good for.
echo_in_tls() {
    TLS_AUTHORITY=$1/authority.pem TLS_CERTIFICATE=$1/agency-4.pem TLS_KEY=$1/agency-4.key echo_says "$2" "$([ "$2" = success ] && echo 0 || echo 1)"
}

# refused WHY OPTION...: a second client 2 with these options ends with exit code 1 and says why.
refused() {
    local why=$1 output code=0
    shift
    output=$(compose run --rm --no-deps "$@" client2 2>&1) || code=$?
    equal "exit code" "$code" 1 && grep -F "$why" <<<"$output" >/dev/null && return 0
    printf '%s\n' "$output" >&2
    return 1
}

# --- The package ---

# in_package COMMAND...: in the container where the package is installed.
in_package() { docker exec -e CLI_AGENCIES_DIR=/agencies loteria-package "$@"; }

# Of the programs in the images, which are built with TLS as the package is: so nothing is compiled once more.
package_is_made() {
    local program
    mkdir -p target/release || return
    for program in server client; do
        docker run --rm --entrypoint cat "$program:latest" "/usr/local/bin/$program" >"target/release/$program" || return
    done
    chmod +x target/release/server target/release/client
    make -s -o build completions man && cargo deb --no-build
}

# Debian with systemd as process 1. PrivateUsers= beside ProtectProc= needs SYS_PTRACE, which systemd has everywhere else.
machine_is_there() {
    docker build -q -t loteria-package:latest - <<'DOCKERFILE' || return
FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd python3 >/dev/null
STOPSIGNAL SIGRTMIN+3
CMD ["/lib/systemd/systemd"]
DOCKERFILE
    docker run -d --name loteria-package --label loteria.stand-in --cap-add SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined \
        --security-opt apparmor=unconfined --tmpfs /run --tmpfs /run/lock --cgroupns private -e container=docker \
        loteria-package:latest || return
    docker cp agencies loteria-package:/agencies && within "$STEP_SECONDS_MAX" is_up
}
is_up() { in_package systemctl is-system-running | grep -E 'running|degraded'; }

package_is_installed() {
    docker cp target/debian/loteria_*.deb loteria-package:/loteria.deb && in_package dpkg -i /loteria.deb
}

property() { in_package systemctl show --property "$1" --value loteria-server; }
active() { equal state "$(property ActiveState)" active; }
failed_with_2() { equal state "$(property ActiveState)/$(property ExecMainStatus)/$(property NRestarts)" failed/2/0; }

exposure_is_low() {
    in_package systemd-analyze security --no-pager --threshold=15 loteria-server
}

users_are_private() {
    [ "$(in_package readlink "/proc/$(property MainPID)/ns/user")" != "$(in_package readlink /proc/1/ns/user)" ]
}

all_winners_are_told() { equal winners "$(in_package loteria-client --quiet | wc -l)" 9; }

restarted() { equal restarts "$(property NRestarts)" "$1" && active && in_package loteria-client --status | grep -F "draw: held over 7000 bets"; }

wrong_setting_is_final() {
    in_package sh -c 'echo "agencis = 5" >>/etc/loteria/config.toml && systemctl restart loteria-server'
    within "$STEP_SECONDS_MAX" failed_with_2 \
        && in_package sed -i /agencis/d /etc/loteria/config.toml && in_package systemctl start loteria-server
}

# 100,000 lines in less than a second, and then the end of the connection.
log_many_lines() {
    in_package python3 -c '
import socket
server = socket.create_connection(("127.0.0.1", 12345)).makefile("rwb")
for _ in range(1000):
    server.write(b"ECO|a\n" * 100)
    server.flush()
    server.read(600)'
}
last_line_is_there() { in_package journalctl -u loteria-server -n 1 -o cat | grep -F "thread: session-"; }
journal_drops_nothing() { log_many_lines && within "$STEP_SECONDS_MAX" last_line_is_there; }

upgrade_keeps_settings() {
    in_package sh -c "sed -i 's/^winning_number = .*/winning_number = 1234/' /etc/loteria/config.toml && dpkg -i /loteria.deb" \
        && in_package grep -x 'winning_number = 1234' /etc/loteria/config.toml && active
}

purge_keeps_bets() {
    in_package dpkg --purge loteria && ! in_package test -e /usr/bin/loteria-server \
        && equal "bets left" "$(in_package grep -c '' /var/lib/loteria/bets.csv)" 7000 \
        && in_package test -s /var/lib/loteria/sorteo.toml
}

# package: installed in a Debian with systemd, a lottery run by the service, removed.
package() {
    check "package: a Debian with systemd is there" machine_is_there || return
    check "package: it is installed" package_is_installed || return
    check "package: nothing runs before it is told to" equal state "$(property ActiveState)/$(property UnitFileState)" inactive/disabled
    check "package: the unit is valid" in_package systemd-analyze verify --man=no loteria-server.service
    check "package: systemd finds it little exposed" exposure_is_low
    # The manuals from the package itself, because slim images leave them out.
    # shellcheck disable=SC2016 # expanded by the shell in the container
    check "package: manuals and completions are there" in_package sh -c 'for program in loteria-server loteria-client; do
        dpkg-deb --fsys-tarfile /loteria.deb | tar -xO ./usr/share/man/man1/$program.1.gz | zgrep -q config && bash -n /usr/share/bash-completion/completions/$program &&
        grep -q $program /usr/share/zsh/vendor-completions/_$program /usr/share/fish/vendor_completions.d/$program.fish || exit
    done'
    check "package: the service starts" in_package systemctl start loteria-server || return
    check "package: in a user namespace of its own" users_are_private
    check "package: agencies send their bets and hear 9 winners" all_winners_are_told
    check "package: the files are its user's alone" equal "owner and mode" "$(in_package stat -c '%U %a' /var/lib/loteria/bets.csv)" "loteria 640"
    check "package: the service is killed" in_package systemctl kill --signal KILL loteria-server
    check "package: it is back, and the draw stands" within "$STEP_SECONDS_MAX" restarted 1
    check "package: metrics are made of its status" in_package sh -c 'loteria-client --status --json | loteria-metrics | grep -x "loteria_draw_held 1"'
    check "package: the journal keeps the last of many lines" journal_drops_nothing
    check "package: after a wrong setting it is not started again and again" wrong_setting_is_final
    check "package: an upgrade keeps the settings" upgrade_keeps_settings
    check "package: the service stops" in_package systemctl stop loteria-server
    check "package: with exit code 0" equal "exit code" "$(property ExecMainStatus)" 0
    check "package: the files are verified" in_package runuser -u loteria -- sh -c 'cd /var/lib/loteria && loteria-server --config /etc/loteria/config.toml --verify'
    check "package: it is purged, and the bets stay" purge_keeps_bets
    docker rm -f loteria-package >/dev/null
    docker rmi loteria-package:latest >/dev/null
}

# --- Side by side ---

# runs_beside COMMAND...: in the background, until joined shows what it printed and counts its checks.
runs_beside() {
    (
        # shellcheck disable=SC2030 # `joined` adds these counts to those of the shell itself
        passed=0 failed=0 skipped=0
        "$@"
        echo "$passed $failed $skipped" >"$scratch/beside.counts"
    ) >"$scratch/beside.log" 2>&1 &
    beside=$!
}

joined() {
    local counts=(0 1 0)
    [ -n "$beside" ] || return 0
    wait "$beside"
    beside=
    cat "$scratch/beside.log"
    [ ! -e "$scratch/beside.counts" ] || read -ra counts <"$scratch/beside.counts"
    # shellcheck disable=SC2031
    passed=$((passed + counts[0])) failed=$((failed + counts[1])) skipped=$((skipped + counts[2]))
}

# --- From the first to the last ---

docker info >/dev/null 2>&1 || skip_all "no Docker engine answers here" Docker
take_turns
for container in "${CONTAINERS[@]}" loteria-package; do
    if docker container inspect "$container" >/dev/null 2>&1; then
        echo "run.sh: a container '$container' is there, which is not these tests' own; remove it first" >&2
        exit 1
    fi
done

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
remember_images_before
copy_project || exit 1
check "base images" base_images "$(bases "$root"/Dockerfile.*)" busybox:latest || { summary; exit 1; }

if ! docker compose version >/dev/null 2>&1 && [ -x "$helpers/install-compose.sh" ]; then
    "$helpers/install-compose.sh" 2>&1 | sed 's/^/# /'
fi
generations=()
if docker compose version >/dev/null 2>&1; then generations+=("docker compose"); else skip "docker compose is not installed"; fi
if docker-compose version >/dev/null 2>&1; then generations+=("docker-compose"); else skip "docker-compose is not installed"; fi
[ ${#generations[@]} -gt 0 ] || { summary; exit 1; }

for name in "${generations[@]}"; do
    read -ra compose <<<"$name"
    say "$("${compose[@]}" version | head -n 1)"
    whole_lottery
    [ -n "$tls_build" ] || compile_tls
    name="$name, configuration"
    changed_config
done

# The rest is the engine's doing, whichever Compose started it.
read -ra compose <<<"${generations[0]}"
echo_script
health
server_alone
unreadable
ten_agencies
in_tls
# Made of the images with TLS, and tried beside the lotteries that are disturbed, which mostly wait.
if ! cargo deb --version >/dev/null 2>&1; then
    skip "package: cargo deb is not installed"
elif check "package: cargo deb makes it" package_is_made; then
    runs_beside package
fi
slowly
# The fifth agency has few bets: it is stopped while it waits for the draw.
disturbed "stop of a client" stop_of client1 client5
disturbed "stop of the server" stop_of server
disturbed "kill of the server" kill_of server
disturbed "kill of a client" kill_of client1
disturbed "a client cut off" cut_of client1 4
set_key client reply_timeout_ms 2000
disturbed "a client cut off, and back elsewhere" cut_of client1 4 --ip 172.25.125.77
joined

summary
[ "$failed" -eq 0 ]
