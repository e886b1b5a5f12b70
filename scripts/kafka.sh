#!/usr/bin/env bash
# Apache Kafka brokers for tests and demonstrations: in KRaft mode, on the loopback interface only.
#
#   scripts/kafka.sh fetch          downloads the broker by its Maven coordinates, once; quick when it is there
#   scripts/kafka.sh start DIR [P]  starts a broker that keeps everything in DIR, and prints its address; it ends with process P, and DIR with it
#   scripts/kafka.sh cluster DIR N [P]
#                                   starts N brokers as one cluster, in DIR/1 to DIR/N, and prints their addresses; each is stopped, killed and started by its own directory
#   scripts/kafka.sh stop DIR       stops it
#   scripts/kafka.sh kill DIR       ends it as a power cut would
#
# A broker that was stopped or killed is started again with the same DIR: it comes back with its data at its address.
# Needs Java 17 and Maven; exits with 3 where one of them is missing, or the broker cannot be downloaded.
set -euo pipefail

version=${LOCKSTEP_KAFKA_VERSION:-4.1.0}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lockstep/kafka-$version
class_path=$cache/class-path
unavailable=3

fail() {
  echo "kafka: $2" >&2
  exit "$1"
}

need() {
  command -v "$1" >/dev/null 2>&1 || fail $unavailable "no $1 here · install a JDK 17 or newer, and Maven"
}

pom() {
  cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lockstep</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version>
  </dependency></dependencies>
</project>
POM
}

# Every jar of the class path is there, so that a cache that was cleared in part is fetched again.
fetched() {
  local jar
  [[ -s $class_path ]] || return 1
  tr ':' '\n' <"$class_path" | while read -r jar; do [[ -f $jar ]] || return 1; done
}

fetch() {
  need java
  if fetched; then return 0; fi
  need mvn
  mkdir -p "$cache"
  # One at a time: test binaries that start together would write the same files.
  exec 9>"$cache/lock"
  flock 9
  if fetched; then return 0; fi
  pom >"$cache/pom.xml"
  echo "kafka: downloading Apache Kafka $version" >&2
  mvn -B -q -f "$cache/pom.xml" dependency:build-classpath -Dmdep.outputFile="$class_path.part" >"$cache/maven.log" 2>&1 ||
    fail $unavailable "could not download the broker · see $cache/maven.log"
  mv "$class_path.part" "$class_path"
  exec 9>&-
}

# Runs a class in place of this shell. A short-lived JVM gains nothing from an optimising compiler or from much memory.
exec_java() {
  exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Xmx512m -cp "$(cat "$class_path")" "$@"
}

in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A controller listens so far above its broker. Both are below the ports that the system gives to connections (32768 and up): one of those that a test opens between choosing and
# listening would take it away.
apart=6000

# A port that is free, with its controller's, and none of those given.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % apart))
    if ! in_use $port && ! in_use $((port + apart)) && [[ " $* " != *" $port "* ]]; then
      echo $port
      return
    fi
  done
  fail 1 "no free port on 127.0.0.1"
}

# Properties of node $3 that listens at port $1 and keeps everything in $2; $4 are the voters, and how many there are is the replication of what is internal.
# An eager cleaner lets a test see compaction within seconds. Nothing expires: events of years ago have timestamps of years ago.
properties() {
  cat <<PROPERTIES
process.roles=broker,controller
node.id=$3
controller.quorum.voters=$4
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$(($1 + apart))
advertised.listeners=PLAINTEXT://127.0.0.1:$1
controller.listener.names=CONTROLLER
log.dirs=$2/log
auto.create.topics.enable=false
offsets.topic.replication.factor=$(wc -w <<<"${4//,/ }")
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=$(wc -w <<<"${4//,/ }")
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
message.max.bytes=33554432
replica.fetch.max.bytes=33554432
socket.request.max.bytes=104857600
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=8388608
log.retention.ms=-1
log.retention.check.interval.ms=1000
num.partitions=1
leader.imbalance.check.interval.seconds=5
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
replica.lag.time.max.ms=5000
PROPERTIES
}

# Ends the broker $2 in directory $3 when process $1 has ended: a test that is killed leaves nothing behind.
end_with() {
  while kill -0 "$1" 2>/dev/null; do
    kill -0 "$2" 2>/dev/null || return 0
    sleep 1
  done
  kill -KILL "$2" 2>/dev/null || true
  sleep 1
  rm -rf "$3"
}

# Makes node $3 of cluster $4 in directory $1, at port $2, with voters $5.
format() {
  properties "$2" "$1" "$3" "$5" >"$1/server.properties.part"
  (exec_java kafka.tools.StorageTool format -t "$4" -c "$1/server.properties.part") >"$1/format.out" 2>&1 ||
    fail 1 "could not format $1/log · see $1/format.out"
  echo "$2" >"$1/port"
  mv "$1/server.properties.part" "$1/server.properties"
}

cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c 1-22; }

start() {
  local dir=$1 port
  fetch
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  if [[ ! -f $dir/server.properties ]]; then
    port=$(free_port)
    format "$dir" "$port" 1 "$(cluster_id)" "1@127.0.0.1:$((port + apart))"
  fi
  launch "$dir" "$2"
  listens "$dir"
}

cluster() {
  local dir=$1 nodes=$2 with=$3 id ports=() voters="" node address addresses=""
  fetch
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  if [[ ! -d $dir/1 ]]; then
    for node in $(seq "$nodes"); do
      ports[node]=$(free_port "${ports[@]}")
      voters+="${voters:+,}$node@127.0.0.1:$((ports[node] + apart))"
    done
    id=$(cluster_id)
    for node in $(seq "$nodes"); do
      mkdir -p "$dir/$node"
      format "$dir/$node" "${ports[node]}" "$node" "$id" "$voters"
    done
  fi
  for node in $(seq "$nodes"); do launch "$dir/$node" "$with"; done
  for node in $(seq "$nodes"); do
    address=$(listens "$dir/$node") || exit
    addresses+=${addresses:+,}$address
  done
  echo "$addresses"
}

# Starts the process of the broker in directory $1, which ends with process $2.
launch() {
  local dir=$1 with=$2
  (exec_java kafka.Kafka "$dir/server.properties") </dev/null >>"$dir/server.out" 2>&1 &
  echo $! >"$dir/pid"
  if [[ -n $with ]]; then end_with "$with" "$!" "$dir" </dev/null >/dev/null 2>&1 & fi
}

# Waits until the broker in directory $1 listens, and prints its address.
listens() {
  local dir=$1 port
  port=$(cat "$dir/port")
  for _ in $(seq 600); do
    if in_use "$port"; then
      echo "127.0.0.1:$port"
      return
    fi
    kill -0 "$(cat "$dir/pid")" 2>/dev/null || fail 1 "the broker ended · see $dir/server.out"
    sleep 0.1
  done
  fail 1 "the broker does not listen · see $dir/server.out"
}

# Ends the broker of a directory by a signal, and waits until it is gone.
end() {
  local pid
  [[ -f $1/pid ]] || return 0
  pid=$(cat "$1/pid")
  kill "-$2" "$pid" 2>/dev/null || true
  for _ in $(seq 300); do
    if ! kill -0 "$pid" 2>/dev/null; then
      rm -f "$1/pid"
      return 0
    fi
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  rm -f "$1/pid"
}

case "${1:-} ${2:+dir}" in
"fetch ") fetch ;;
"start dir") start "$2" "${3:-}" ;;
"cluster dir") cluster "$2" "${3:-3}" "${4:-}" ;;
"stop dir") end "$2" TERM ;;
"kill dir") end "$2" KILL ;;
*) fail 2 "usage: kafka.sh fetch | start DIR [P] | cluster DIR N [P] | stop DIR | kill DIR" ;;
esac
