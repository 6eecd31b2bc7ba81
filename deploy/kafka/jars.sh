#!/usr/bin/env bash
# Puts Apache Kafka's jars into build/kafka-jars (or the folder given) through Maven. Does nothing when they
# are there already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:-$here/../../build/kafka-jars}
mkdir -p "$target"
target=$(cd "$target" && pwd)
# The stamp holds the pom that the jars came from, so another version of Kafka is fetched anew.
if cmp -s "$here/pom.xml" "$target/pom.stamp"; then
  exit 0
fi
for tool in mvn java; do
  command -v "$tool" >/dev/null || {
    echo "deploy/kafka/jars.sh: $tool is not installed; it takes Maven and Java 17 or newer to get Kafka's jars" >&2
    exit 1
  }
done
rm -f "$target"/*.jar "$target/pom.stamp"
# Maven may be asked for by two test sessions at once; the goal only reads the pom and writes the folder.
mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies \
  -DoutputDirectory="$target" -DincludeScope=runtime
cp "$here/pom.xml" "$target/pom.stamp"
