// SPDX-License-Identifier: Apache-2.0

// A kube-apiserver for tests: the real one, built from its own module because no package of it is at hand everywhere.
package main

import (
	"os"
	_ "time/tzdata" // where the machine has no time zones

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
