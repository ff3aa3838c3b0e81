#!/bin/sh
# Makes the agencies' files of the three centrals, full of invented bets: agencies/NAME/agency-N.csv.
#
#   examples/national/make-agencies.sh [BETS [DIR]]    (of all centrals together; 1000000, agencies/ beside this script)
set -eu

here=$(dirname "$(readlink -f "$0")")
bets=${1:-1000000}
directory=${2:-$here/agencies}

# make CENTRAL AGENCIES PERCENT SEED: the agencies are as many as centrals.toml says.
make() {
    cargo run --quiet --release --locked --manifest-path "$here/../../Cargo.toml" --example make_agencies -- \
        --agencies "$2" --bets $((bets * $3 / 100)) --seed "$4" "$directory/$1"
}

make north 5 50 1
make center 3 30 2
make south 2 20 3
