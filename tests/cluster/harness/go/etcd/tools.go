//go:build tools

// Package tools names what the cluster harness builds, so that go.mod and go.sum pin all of it.
package tools

import _ "go.etcd.io/etcd/server/v3"
