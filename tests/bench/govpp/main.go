// SPDX-License-Identifier: Apache-2.0

// Adds routes to VPP by GoVPP, pipelined, and prints the seconds from the first message to the last answer.
//
//	govpp-routes SOCKET TABLE NUMBER WINDOW SOURCE
//
// Route n of table TABLE is 10.0.0.0/32 plus n, over the interface local0: the same that the benchmark makes.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"go.fd.io/govpp/adapter/socketclient"
	"go.fd.io/govpp/api"
	"go.fd.io/govpp/binapi/fib_types"
	"go.fd.io/govpp/binapi/ip"
	"go.fd.io/govpp/binapi/ip_types"
	"go.fd.io/govpp/core"
)

func route(table, number uint32) *ip.IPRouteAddDelV2 {
	var address ip_types.IP4Address
	binary.BigEndian.PutUint32(address[:], 10<<24+number)
	prefix := ip_types.Prefix{Len: 32}
	prefix.Address.Af = ip_types.ADDRESS_IP4
	prefix.Address.Un.SetIP4(address)
	paths := []fib_types.FibPath{{SwIfIndex: 0, Weight: 1, Proto: fib_types.FIB_API_PATH_NH_PROTO_IP4}}
	wanted := ip.IPRouteV2{TableID: table, Prefix: prefix, Src: source, NPaths: 1, Paths: paths}
	return &ip.IPRouteAddDelV2{IsAdd: true, Route: wanted}
}

// source is VPP's number of the FIB source of the routes.
var source uint8

func number(index int) uint32 {
	value, err := strconv.ParseUint(os.Args[index], 10, 32)
	if err != nil {
		log.Fatalln(err)
	}
	return uint32(value)
}

// exchange keeps up to `window` requests without an answer.
func exchange(stream api.Stream, table, count, window uint32) error {
	free := make(chan struct{}, window)
	failed := make(chan error, 1)
	receive := func() {
		for n := uint32(0); n < count; n++ {
			message, err := stream.RecvMsg()
			if err == nil {
				if reply := message.(*ip.IPRouteAddDelV2Reply); reply.Retval != 0 {
					err = api.RetvalToVPPApiError(reply.Retval)
				}
			}
			if err != nil {
				failed <- err
				return
			}
			<-free
		}
		failed <- nil
	}
	for n := uint32(0); n < count; n++ {
		select {
		case free <- struct{}{}:
		case err := <-failed:
			return err
		}
		if err := stream.SendMsg(route(table, n)); err != nil {
			return err
		}
		if n == 0 { // not before: a stream knows the types of its replies only after its first message
			go receive()
		}
	}
	return <-failed
}

func main() {
	core.SetLogger(quiet())
	core.SetLogLevel(logrus.ErrorLevel)
	client := socketclient.NewVppClient(os.Args[1])
	connection, err := core.Connect(client)
	if err != nil {
		log.Fatalln(err)
	}
	defer connection.Disconnect()
	table, count, window := number(2), number(3), number(4)
	source = uint8(number(5))
	size := int(window)
	stream, err := connection.NewStream(context.Background(),
		core.WithRequestSize(size), core.WithReplySize(size), core.WithReplyTimeout(30*time.Second))
	if err != nil {
		log.Fatalln(err)
	}
	begin := time.Now()
	if err := exchange(stream, table, count, window); err != nil {
		log.Fatalln(err)
	}
	fmt.Println(time.Since(begin).Seconds())
}

func quiet() *logrus.Logger {
	logger := logrus.New()
	logger.SetOutput(os.Stderr)
	logger.SetLevel(logrus.ErrorLevel)
	return logger
}
