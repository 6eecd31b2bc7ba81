// Command docker-compose is the compose plugin of Docker, built from its own module where no release of it can
// be downloaded (deploy/compose/build.sh). The module here exists only to name its version.
package main

import _ "github.com/docker/compose/v2/cmd"

func main() {}
