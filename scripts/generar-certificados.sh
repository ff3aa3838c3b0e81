#!/bin/sh
# Makes what `[tls]` asks for: an authority, and certificates that it signs for the central and its
# agencies, in PEM.
#
#   scripts/generar-certificados.sh DIRECTORY N [HOST...]
#
#   authority.pem, authority.key   whom everybody believes; the key is for signing more, and for nobody else
#   server.pem, server.key         the central, at the hosts server, localhost, 127.0.0.1, ::1 and HOST...
#   agency-1.pem, agency-1.key     agency 1, and so on up to N
#   agencies.pem, agencies.key     all N in one, for a client that runs them all
#
# What is there already stays as it is, but for agencies.pem where there are more of them; to renew a
# certificate, remove it. DAYS says for how long one is good (730); the authority's is for ten years.
set -eu

# All of them are named in agencies.pem, which has to fit into the handshake.
AGENCIES_MAX=1000
AUTHORITY_DAYS=3650

refuse() {
    echo "generar-certificados: $*" >&2
    echo "usage: $0 DIRECTORY N [HOST...]    (N agencies, 1 to $AGENCIES_MAX)" >&2
    exit 2
}

# What was asked for is right, and cannot be done.
fail() {
    echo "generar-certificados: $*" >&2
    exit 1
}

[ $# -ge 2 ] || refuse "two arguments are needed, not $#"
[ -n "$1" ] || refuse "DIRECTORY is empty"
case $2 in
    '' | *[!0-9]*) refuse "'$2' is no number of agencies" ;;
esac
agencies=${2#"${2%%[!0]*}"}
# By length first: a number of many digits is more than the shell can compare.
if [ -z "$agencies" ] || [ ${#agencies} -gt 4 ] || [ "$agencies" -gt "$AGENCIES_MAX" ]; then
    refuse "$2 is no number of agencies"
fi
days=${DAYS:-730}
case $days in
    '' | *[!0-9]*) refuse "DAYS is '$days', which is no number of days" ;;
esac
directory=$1
shift 2
hosts=DNS:server,DNS:localhost,IP:127.0.0.1,IP:::1
for host; do
    case ${host#agency-} in
        "$host" | '' | *[!0-9]*) ;;
        *) refuse "'$host' names an agency, for which the central is not to speak" ;;
    esac
    case $host in
        '' | *[!A-Za-z0-9._:-]*) refuse "'$host' is no host" ;;
        *:*:*) hosts=$hosts,IP:$host ;;
        *:*) refuse "'$host' is no host; a port is no part of one" ;;
        *[!0-9.]*) hosts=$hosts,DNS:$host ;;
        *) hosts=$hosts,IP:$host ;;
    esac
done
command -v openssl >/dev/null || fail "openssl is needed, and is not installed"

# The directory keeps others of this machine out. The files in it may be read, so that the users inside
# containers, which are nobody's here, can read those that are mounted for them.
(umask 077 && mkdir -p -- "$directory")
# Else `cd` takes a `-` for where one was before, and looks for others elsewhere, where CDPATH says so.
case $directory in
    /*) cd -- "$directory" ;;
    *) cd -- "./$directory" ;;
esac
umask 022
if [ -n "$(find . -prune -perm -001)" ]; then
    echo "generar-certificados: $directory was there before, and others of this machine can read the keys in it; \`chmod 700\` keeps them out" >&2
fi

for file in *.pem *.key; do
    [ ! -d "$file" ] || fail "$directory/$file is a directory: Docker makes one where it is to mount a file that is not
there; remove it"
done
if [ $# -gt 0 ] && [ -e server.pem ]; then
    fail "$directory/server.pem is there already; remove it to have one for other hosts"
fi
if [ ! -e authority.pem ]; then
    for file in server.pem agenc*.pem; do
        [ ! -e "$file" ] || fail "$directory/authority.pem is not there, and $file is signed by it; for a new authority
remove all that is signed by the one before"
    done
fi

# Nothing is left half made: a file gets its name when it is complete.
trap 'rm -f new.key new.pem new.csr new.cnf new.log' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key; }

# sign NAME USAGE SUBJECT_ALTERNATIVE_NAMES
sign() {
    [ ! -e "$1.pem" ] || return 0
    [ -e authority.key ] || fail "$directory/authority.key is needed to sign $1.pem, and is not there"
    key
    cat >new.cnf <<CNF
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = $2
subjectAltName = $3
CNF
    openssl req -new -key new.key -subj "/O=loteria/CN=$1" -out new.csr
    # OpenSSL 3 would draw a serial number by itself; before, it looks for a file that has the last one.
    openssl x509 -req -in new.csr -CA authority.pem -CAkey authority.key -days "$days" \
        -set_serial "0x$(openssl rand -hex 16)" -extfile new.cnf -out new.pem 2>new.log || {
        cat new.log >&2
        fail "$directory/$1.pem is not made, for what openssl says above"
    }
    chmod 644 new.key
    mv new.key "$1.key"
    mv new.pem "$1.pem"
    made=$((made + 1))
}

made=0
if [ ! -e authority.pem ]; then
    key
    openssl req -x509 -new -key new.key -days "$AUTHORITY_DAYS" -subj "/O=loteria/CN=authority" \
        -addext 'basicConstraints = critical, CA:true, pathlen:0' \
        -addext 'keyUsage = critical, keyCertSign, cRLSign' -out new.pem
    chmod 600 new.key
    mv new.key authority.key
    mv new.pem authority.pem
    made=$((made + 1))
fi

# The central's is good for a client too: one that only asks how the lottery stands, for it names no agency.
sign server 'serverAuth, clientAuth' "$hosts"
names=
agency=1
while [ "$agency" -le "$agencies" ]; do
    # Before there are more agencies than it names: who is interrupted here goes on as if there were none.
    [ -e "agency-$agency.pem" ] || rm -f agencies.pem
    sign "agency-$agency" clientAuth "DNS:agency-$agency"
    names=$names${names:+,}DNS:agency-$agency
    agency=$((agency + 1))
done
sign agencies clientAuth "$names"
echo "$directory: $made certificates made, $agencies agencies" >&2
