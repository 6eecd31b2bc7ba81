#!/usr/bin/env bash
# Starts one Kafka in KRaft mode from its environment, by the rules of the image apache/kafka:
# KAFKA_LISTENERS becomes `listeners`; in a name `_` means a dot, `__` an underscore, `___` a hyphen.
set -euo pipefail

config=/tmp/server.properties
data=${KAFKA_LOG_DIRS:-/var/lib/kafka/data}
: >"$config"
for name in "${!KAFKA_@}"; do
  case $name in
    KAFKA_HEAP_OPTS | KAFKA_JVM_PERFORMANCE_OPTS | KAFKA_OPTS | KAFKA_LOG_DIRS) continue ;; # for this script, not the broker
  esac
  key=${name#KAFKA_}
  key=${key,,}
  key=${key//___/-}
  key=${key//__/$'\n'} # an underscore, out of the way of the next line
  key=${key//_/.}
  key=${key//$'\n'/_}
  printf '%s=%s\n' "$key" "${!name}" >>"$config"
done
printf 'log.dirs=%s\n' "$data" >>"$config"

kafka() { # class of Kafka, arguments
  # shellcheck disable=SC2086 # options are several words
  java ${KAFKA_HEAP_OPTS:--Xmx1g -Xms256m} ${KAFKA_JVM_PERFORMANCE_OPTS:-} ${KAFKA_OPTS:-} \
    -Dlog4j2.configurationFile=/opt/kafka/log4j2.properties -cp '/opt/kafka/libs/*' "$@"
}

# A volume that was formatted before keeps its data, and must keep its cluster id.
if [[ ! -f $data/meta.properties ]]; then
  how=(--standalone)
  if grep -q '^controller\.quorum\.voters=' "$config"; then
    how=() # voters named in the configuration are enough
  fi
  kafka kafka.tools.StorageTool format "${how[@]}" \
    --cluster-id "${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}" --config "$config"
fi
# Process 1 is the broker itself, so that `docker stop` reaches it and it closes its log cleanly.
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:--Xmx1g -Xms256m} ${KAFKA_JVM_PERFORMANCE_OPTS:-} ${KAFKA_OPTS:-} \
  -Dlog4j2.configurationFile=/opt/kafka/log4j2.properties -cp '/opt/kafka/libs/*' kafka.Kafka "$config"
