package demo

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
)

// shell is what a process of the shop knows of its place.
type shell struct {
	ports ports
	dir   string
	log   *slog.Logger
}

// roles are the processes of the shop, in the order in which they are started.
func roles() []role {
	return []role{
		{"control", runControl, func(p ports) int { return p.Control }},
		{"dns", runDNS, func(p ports) int { return p.DNSMetrics }},
		{"receiver", runReceiver, func(p ports) int { return p.Receiver }},
		{"payment", runPayment, func(p ports) int { return p.Payment }},
		{"queue", runQueue, func(p ports) int { return p.Queue }},
		{"catalogue", runCatalogue, func(p ports) int { return p.Catalogue }},
		{"pricing", runPricing, func(p ports) int { return p.Pricing }},
		{"orders", runOrders, func(p ports) int { return p.Orders }},
		{"worker1", runWorker(1), func(p ports) int { return p.Worker1 }},
		{"worker2", runWorker(2), func(p ports) int { return p.Worker2 }},
		{"gateway", runGateway, func(p ports) int { return p.Gateway }},
		{"traffic", runTraffic, func(p ports) int { return p.Traffic }},
	}
}

// role is one process. Its port answers /healthz over HTTP.
type role struct {
	name string
	run  func(context.Context, shell) error
	port func(ports) int
}

// Serve is the body of one process of the shop: `vedette demo serve ROLE BASE
// DIR`, as Start runs it. It blocks until ctx ends.
func Serve(ctx context.Context, roleName string, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("demo serve %s: want the base port and the directory, got %d arguments", roleName, len(args))
	}
	base, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("demo serve %s: base port: %w", roleName, err)
	}
	var names []string
	for _, r := range roles() {
		if r.name == roleName {
			log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("service", roleName)
			ctx, stop := watchParent(ctx)
			defer stop()
			log.Info("started")
			if err := r.run(ctx, shell{ports: portsFrom(base), dir: args[1], log: log}); err != nil {
				return fmt.Errorf("demo serve %s: %w", roleName, err)
			}
			return nil
		}
		names = append(names, r.name)
	}
	return fmt.Errorf("demo serve: no role %q: want one of %s", roleName, strings.Join(names, ", "))
}
