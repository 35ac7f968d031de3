package demo

// customer is one of the shop's customers and its share of the traffic.
type customer struct {
	name  string
	share float64 // of all requests, 0 to 1
	// steady customers call like a clock, as small integrations do; the others
	// are many people at once, and their requests come at random.
	steady bool
}

// failingCustomer is the one that the small-customer-failing fault hits.
const failingCustomer = "lumen-tea"

// noCustomer labels requests that come from no customer, such as checks.
const noCustomer = "none"

// customers lists them from huge to tiny; the shares sum to 1.
func customers() []customer {
	return []customer{
		{name: "northwind", share: 0.40},
		{name: "globex", share: 0.25},
		{name: "initech", share: 0.13},
		{name: "umbra-retail", share: 0.08},
		{name: "stark-supply", share: 0.05},
		{name: "wayfarer", share: 0.035},
		{name: "blue-heron", share: 0.025},
		{name: "oak-and-iron", share: 0.015},
		{name: "petit-marche", share: 0.009, steady: true},
		{name: failingCustomer, share: 0.004, steady: true},
		{name: "harbour-books", share: 0.0015, steady: true},
		{name: "tiny-anvil", share: 0.0005, steady: true},
	}
}

// boundCustomer keeps the label bounded whatever a client sends.
func boundCustomer(name string) string {
	if name == "" {
		return noCustomer
	}
	for _, c := range customers() {
		if c.name == name {
			return name
		}
	}
	return "other"
}
