package demo

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
)

// The test's own binary is every process of the shop.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "demo" && os.Args[2] == "serve" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err := Serve(ctx, os.Args[3], os.Args[4:])
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 4 && os.Args[1] == "keep" {
		// A keeper to be killed: see TestShopEndsWithItsKeeper.
		base, _ := strconv.Atoi(os.Args[3])
		s, err := Start(context.Background(), Options{Dir: os.Args[2], BasePort: base})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("up")
		s.Wait()
		os.Exit(0)
	}
	os.Exit(m.Run())
}
