package probe

import "context"

// HoldBrowser takes the place of a browser until release.
func HoldBrowser(ctx context.Context) (release func(), err error) { return browsers.Acquire(ctx) }
