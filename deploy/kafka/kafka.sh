#!/bin/sh
# A real single-node Kafka (KRaft, no ZooKeeper) on 127.0.0.1, for tests and for trying things out.
#
#   kafka.sh start DIR PORT CONTROLLER_PORT   start, wait until it serves, print host:port. A DIR that was used before
#                                             keeps its topics, records and offsets.
#   kafka.sh stop DIR                         stop it and wait until it is gone; DIR stays. Harmless when nothing runs.
#
# DIR/broker.pid is the JVM, so a test may also kill it the hard way and start again on the same DIR.
# Needs a Java runtime from 17 on; the first start fetches about 45 MB of jars with Maven into .cache/kafka.
# KAFKA_HEAP (default 512m) and KAFKA_JARS (a folder with the broker's jars, used as it is) may be set.
set -eu

START_S=90
STOP_S=30

here=$(cd "$(dirname "$0")" && pwd)
VERSION=$(sed -n 's|^  <version>\(.*\)</version>$|\1|p' "$here/pom.xml")
jars=${KAFKA_JARS:-$here/../../.cache/kafka/$VERSION}

die() {
    echo "kafka.sh: $*" >&2
    exit 1
}

usage() {
    die "usage: kafka.sh start DIR PORT CONTROLLER_PORT | kafka.sh stop DIR"
}

running() { # is the process of DIR/broker.pid alive? One that was killed and waits to be reaped is not.
    [ -s "$dir/broker.pid" ] || return 1
    pid=$(cat "$dir/broker.pid")
    kill -0 "$pid" 2>/dev/null || return 1
    [ ! -r "/proc/$pid/stat" ] || ! grep -q ') Z ' "/proc/$pid/stat"
}

gone_within() { # wait that many seconds for the process to end
    looks=$(($1 * 10))
    while running; do
        looks=$((looks - 1))
        [ "$looks" -gt 0 ] || return 1
        sleep 0.1
    done
}

need_java() {
    command -v java >/dev/null || die "java is not on PATH: install a Java runtime from 17 on (make services)"
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ] || die "Kafka $VERSION needs Java 17, and java on PATH is ${major:-unknown}"
}

need_jars() { # fetched beside, then renamed: a cut-off or a concurrent fetch leaves no half-filled folder
    [ -d "$jars" ] && return
    [ -z "${KAFKA_JARS:-}" ] || die "KAFKA_JARS names $KAFKA_JARS, which is no folder"
    command -v mvn >/dev/null || die "mvn is not on PATH: install maven (make services), or set KAFKA_JARS"
    echo "fetching Kafka $VERSION (about 45 MB) into .cache/kafka" >&2
    mkdir -p "$(dirname "$jars")"
    fetched=$jars.$$
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$fetched" >&2 ||
        { rm -rf "$fetched"; die "Maven could not fetch Kafka $VERSION: its message is above"; }
    mv -T "$fetched" "$jars" 2>/dev/null || rm -rf "$fetched"
    [ -d "$jars" ] || die "could not move the jars to $jars"
}

jvm() { # small, quick to start, and silent but for warnings and the line that says it is up
    exec java -Xms128m "-Xmx${KAFKA_HEAP:-512m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
        -Dorg.slf4j.simpleLogger.showDateTime=true "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS" \
        -cp "$jars/*" "$@"
}

configure() { # write the properties; format the storage the first time
    sed -e "s|{port}|$port|g" -e "s|{controller_port}|$controller_port|g" -e "s|{dir}|$dir|g" \
        "$here/server.properties" >"$dir/server.properties"
    [ -f "$dir/data/meta.properties" ] && return
    # A cluster id is 16 random bytes in URL-safe base64: no need of a JVM for that. No hyphen in it: one id in 64
    # would begin with it, which the tool takes for an option.
    cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' '__' | cut -c 1-22)
    (jvm kafka.tools.StorageTool format --standalone -t "$cluster" -c "$dir/server.properties") \
        >"$dir/format.log" 2>&1 || { tail -n 5 "$dir/format.log" >&2; die "could not format $dir/data"; }
}

start() {
    need_java
    need_jars
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    # A broker that was just killed the hard way needs a moment to give its memory back.
    gone_within 3 || die "a broker of $dir runs already, pid $(cat "$dir/broker.pid")"
    configure
    : >"$dir/broker.log"
    # It outlives the shell that started it.
    (
        trap '' HUP
        jvm kafka.Kafka "$dir/server.properties" >>"$dir/broker.log" 2>&1 </dev/null &
        echo $! >"$dir/broker.pid"
    )
    looks=$((START_S * 5))
    until grep -q "Kafka Server started" "$dir/broker.log"; do
        running || { tail -n 15 "$dir/broker.log" >&2; die "the broker stopped while starting (port $port in use?)"; }
        looks=$((looks - 1))
        [ "$looks" -gt 0 ] || { stop; tail -n 15 "$dir/broker.log" >&2; die "not up after $START_S s"; }
        sleep 0.2
    done
    echo "127.0.0.1:$port"
}

stop() {
    running || { rm -f "$dir/broker.pid"; return 0; }
    kill "$(cat "$dir/broker.pid")"
    gone_within "$STOP_S" || {
        echo "kafka.sh: no clean stop in $STOP_S s, killing it" >&2
        kill -9 "$(cat "$dir/broker.pid")"
    }
    rm -f "$dir/broker.pid"
}

case ${1:-} in
start)
    [ $# -eq 4 ] || usage
    dir=$2 port=$3 controller_port=$4
    start
    ;;
stop)
    [ $# -eq 2 ] || usage
    dir=$2
    stop
    ;;
*) usage ;;
esac
