#!/bin/sh
# Makes the files that `[tls]` in config.toml names, in PEM: an authority (CA), and certificates that it signs for the
# central and its agencies.
#
#   scripts/generar-certificados.sh DIRECTORY N [HOST...]
#   scripts/generar-certificados.sh --renew DIRECTORY
#   scripts/generar-certificados.sh --revoke N DIRECTORY
#
#   authority.pem, authority.key   the trusted CA; the key signs certificates, so keep it to yourself
#   server.pem, server.key         the central, at the hosts server, localhost, 127.0.0.1, ::1 and HOST...
#   agency-1.pem, agency-1.key     agency 1, and so on up to N
#   agencies.pem, agencies.key     all N in one, for a client that runs them all
#   revoked.pem, revoked.txt       the list of revoked certificates, and what it is made from
#   replaced/                      certificates that were replaced, for --revoke: they are valid until they expire
#
# Keeps certificates that exist, except agencies.pem if it makes one of an agency: then it makes that anew too. A new one
# is valid for DAYS days (730), and that of the authority for ten years.
#
# --renew replaces each certificate that expires within 30 days, and its key, by one for the same names.
# --revoke puts the certificate of agency N on the list and removes it and its key; the next run without --revoke
# makes another. It does the same to agencies.pem and to those of replaced/ that speak for agency N. The server reads the
# list, and a renewed certificate of its own, at its start and when it gets SIGHUP.
set -eu

# All of them are named in agencies.pem, which has to fit into the handshake.
AGENCIES_MAX=1000
AUTHORITY_DAYS=3650
RENEWED_DAYS=30

refuse() {
    echo "generar-certificados: $*" >&2
    echo "usage: $0 DIRECTORY N [HOST...]    (N agencies, 1 to $AGENCIES_MAX)" >&2
    echo "       $0 --renew DIRECTORY" >&2
    echo "       $0 --revoke N DIRECTORY" >&2
    exit 2
}

# The usage is right, and the task failed.
fail() {
    echo "generar-certificados: $*" >&2
    exit 1
}

task=create
case ${1-} in
    --renew)
        [ $# -eq 2 ] || refuse "--renew needs a directory"
        # The number of agencies is not used.
        task=renew && set -- "$2" 1
        ;;
    --revoke)
        [ $# -eq 3 ] || refuse "--revoke needs an agency and a directory"
        task=revoke && set -- "$3" "$2"
        ;;
    --*) refuse "'$1' is no option" ;;
esac
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
    '' | 0* | *[!0-9]*) refuse "DAYS is '$days', which is no number of days" ;;
esac
directory=$1
shift 2
hosts=DNS:server,DNS:localhost,IP:127.0.0.1,IP:::1
for host; do
    case ${host#agency-} in
        "$host" | '' | *[!0-9]*) ;;
        *) refuse "'$host' is the name of an agency, and the central must not speak for one" ;;
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
[ $task = create ] || [ -d "$directory" ] || fail "$directory is no directory"
(umask 077 && mkdir -p -- "$directory")
# Without the `./`, `cd` takes a `-` for the previous directory, and looks for others in CDPATH.
case $directory in
    /*) cd -- "$directory" ;;
    *) cd -- "./$directory" ;;
esac
umask 022
# A run waits for another one in this directory, because their files would mix.
exec 9<.
! command -v flock >/dev/null || flock 9
if [ -n "$(find . -prune -perm -001)" ]; then
    echo "generar-certificados: other users of this machine can read the keys in $directory; \`chmod 700\` keeps them out" >&2
fi

for file in *.pem *.key; do
    [ ! -d "$file" ] || fail "$directory/$file is a directory, as Docker makes one if it has to mount a file that does not
exist; remove it"
done
if [ -e server.pem ]; then
    for host; do
        check=-checkip
        case $host in
            *:*) ;;
            *[!0-9.]*) check=-checkhost ;;
        esac
        openssl x509 -in server.pem -noout "$check" "$host" | grep -q 'does match' ||
            fail "$directory/server.pem exists and is not for $host; remove it to make one for other hosts"
    done
fi
if [ ! -e authority.pem ]; then
    for file in server.pem agenc*.pem; do
        [ ! -e "$file" ] || fail "$directory/authority.pem is missing, and $file is signed by it; for a new authority
remove all that is signed by the old one"
    done
fi

# A file gets its name when it is complete, so that none is left half made.
trap 'rm -f new.key new.pem new.csr new.cnf new.log new.txt new.txt.*' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# has_end FILE: whether new.pem, which becomes FILE, has its end. openssl ends with 0 even if the disk is full.
has_end() {
    grep -q '^-----END .*-----$' new.pem || fail "$directory/$1 could not be written, perhaps because the disk is full"
}

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key; }

# keep NAME: a copy of the certificate, because --revoke has to find it until it expires.
keep() {
    serial=$(openssl x509 -in "$1.pem" -noout -serial)
    mkdir -p replaced
    cp "$1.pem" "replaced/$1-${serial#serial=}.pem"
}

# sign NAME USAGE SUBJECT_ALTERNATIVE_NAMES: unless the certificate exists.
sign() {
    [ -e "$1.pem" ] || replace "$@"
}

# The same if it does.
replace() {
    [ -e authority.key ] || fail "$directory/authority.key is needed to sign $1.pem, and is missing"
    key
    cat >new.cnf <<CNF
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = $2
subjectAltName = $3
CNF
    openssl req -new -key new.key -subj "/O=loteria/CN=$1" -out new.csr
    # OpenSSL 3 would choose a serial number by itself; OpenSSL 1 needs a file that has the last one.
    openssl x509 -req -in new.csr -CA authority.pem -CAkey authority.key -days "$days" \
        -set_serial "0x$(openssl rand -hex 16)" -extfile new.cnf -out new.pem 2>new.log || {
        cat new.log >&2
        fail "$directory/$1.pem could not be made; the error of openssl is above"
    }
    has_end "$1.pem"
    [ ! -e "$1.pem" ] || keep "$1"
    chmod 644 new.key
    mv new.key "$1.key"
    mv new.pem "$1.pem"
    made=$((made + 1))
}

# revoke NAME: puts the certificate on the list and removes it.
revoke() {
    # The database of `openssl ca` is a line for each certificate that was revoked.
    : >>revoked.txt
    cp revoked.txt new.txt
    cat >new.cnf <<CNF
[ca]
default_ca = list
[list]
database = new.txt
default_md = sha256
default_crl_days = $AUTHORITY_DAYS
crl_extensions = extensions
[extensions]
authorityKeyIdentifier = keyid:always
CNF
    serial=$(openssl x509 -in "$1.pem" -noout -serial)
    if ! cut -f 4 revoked.txt | grep -qx "${serial#serial=}"; then
        openssl ca -config new.cnf -cert authority.pem -keyfile authority.key -revoke "$1.pem" 2>new.log || {
            cat new.log >&2
            fail "$directory/$1.pem could not be revoked; the error of openssl is above"
        }
        [ "$(wc -l <new.txt)" -gt "$(wc -l <revoked.txt)" ] ||
            fail "$directory/revoked.txt could not be written, perhaps because the disk is full"
    fi
    openssl ca -config new.cnf -cert authority.pem -keyfile authority.key -gencrl -out new.pem 2>new.log || {
        cat new.log >&2
        fail "$directory/revoked.pem could not be made; the error of openssl is above"
    }
    has_end revoked.pem
    mv new.txt revoked.txt
    mv new.pem revoked.pem
    rm -f "$1.pem" "$1.key"
    echo "$directory: $1.pem is revoked; the server reads $directory/revoked.pem at SIGHUP if tls.revoked named it at its start" >&2
}

if [ $task = revoke ]; then
    for file in authority.pem authority.key "agency-$agencies.pem"; do
        [ -e "$file" ] || fail "$directory/$file is needed to revoke, and is missing"
    done
    # Its own last, so that a run after an interrupted one revokes the rest.
    for file in agencies.pem replaced/*.pem; do
        if [ -e "$file" ] && openssl x509 -in "$file" -noout -text | grep -q "DNS:agency-$agencies\(,\|\$\)"; then
            revoke "${file%.pem}"
        fi
    done
    revoke "agency-$agencies"
    exit
fi

made=0
if [ $task = renew ]; then
    lasts() { openssl x509 -in "$1" -noout -checkend $((RENEWED_DAYS * 86400)) >/dev/null; }
    for file in server.pem agenc*.pem; do
        if [ -e "$file" ] && ! lasts "$file"; then
            names=$(openssl x509 -in "$file" -noout -ext subjectAltName |
                sed -nE 's/IP Address:/IP:/g; s/, */,/g; s/^ *(DNS|IP):/\1:/p')
            usage=clientAuth
            [ "$file" != server.pem ] || usage='serverAuth, clientAuth'
            replace "${file%.pem}" "$usage" "$names"
            echo "$directory: $file is renewed" >&2
        fi
    done
    lasts authority.pem ||
        echo "generar-certificados: $directory/authority.pem expires within $RENEWED_DAYS days: make another in another directory" >&2
    exit
fi
if [ ! -e authority.pem ]; then
    key
    openssl req -x509 -new -key new.key -days "$AUTHORITY_DAYS" -subj "/O=loteria/CN=authority" \
        -addext 'basicConstraints = critical, CA:true, pathlen:0' \
        -addext 'keyUsage = critical, keyCertSign, cRLSign' -out new.pem
    has_end authority.pem
    chmod 600 new.key
    mv new.key authority.key
    mv new.pem authority.pem
    made=$((made + 1))
fi

# The central's certificate is also for a client that only asks for the status, because it names no agency.
sign server 'serverAuth, clientAuth' "$hosts"
names=
agency=1
while [ "$agency" -le "$agencies" ]; do
    # Removed before there are more agencies than it names, so that a run after an interrupted one makes it again.
    if [ ! -e "agency-$agency.pem" ] && [ -e agencies.pem ]; then
        keep agencies
        rm agencies.pem
    fi
    sign "agency-$agency" clientAuth "DNS:agency-$agency"
    names=$names${names:+,}DNS:agency-$agency
    agency=$((agency + 1))
done
sign agencies clientAuth "$names"
echo "$directory: $made certificates made, $agencies agencies" >&2
