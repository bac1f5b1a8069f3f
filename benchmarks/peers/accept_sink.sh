# smtp-sink of Postfix, which accepts every message and drops it: accept_sink.sh PORT CERTIFICATE
# It has no TLS. Root's processes are given to nobody.

PATH=$PATH:/usr/sbin
if [ "$(id -u)" = 0 ]; then set -- "$1" -u nobody; else set -- "$1"; fi
port=$1
shift
exec smtp-sink "$@" -m 1000 "127.0.0.1:$port" 2048
