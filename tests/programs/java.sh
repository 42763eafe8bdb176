# Threads, a collector that must run over a heap larger than the cache, files, a server and its client, a child process.
# packages: openjdk-17-jdk-headless
# excache: 48M
# timeout: 240
. "$(dirname "$0")/lib.sh"
cp "$TOP_PROGRAMS/Work.java" .
javac -J-Xmx128m -J-XX:TieredStopAtLevel=1 Work.java && java -Xmx128m Work
