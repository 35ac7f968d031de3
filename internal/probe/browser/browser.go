// Package browser acts a script out in a Chromium that it starts for it alone,
// and tells how each step went, what was requested and how quick the page was.
//
// It hides the process (its own group, a fresh profile, killed whole, nothing
// left behind), the DevTools protocol and how many browsers run at once. Of
// chromedp it uses the protocol's commands and the keyboard; not its session,
// which needs a debugging port that every user of the machine could drive while
// passwords are typed, and which loses events that a newer Chromium words
// differently. Here the protocol goes over a pair of pipes that nobody else has.
package browser

import (
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
)

// Script is what one run does.
type Script struct {
	Steps         []Step
	Width, Height int
	Mobile        bool
	UserAgent     string // "": the browser's own
	// Origins are the hosts of the check itself: they alone get the traceparent
	// and the credentials.
	Origins        []*url.URL
	TraceID        string // 32 hex digits; "": none is sent
	User, Password string // of basic authentication, when User is set
	IgnoreCerts    bool
	MaxBytes       int64 // that the page may load, after decoding
	// Secrets are made unreadable in pictures; texts are the caller's to clean.
	Secrets []string
	// Reserve is how long before the deadline the steps end, so that there is
	// time to see what the page looks like.
	Reserve time.Duration
	// Picture wants a picture on failure.
	Picture bool
}

// Step is one thing that a visitor does or looks for: exactly one of the fields
// after Timeout is set.
type Step struct {
	Name    string
	Timeout time.Duration // 0: as long as the run

	Open       string   // an address
	Click      *Element // with the mouse
	Type       *Typing
	Press      string // a key, see Keys
	Select     *Choice
	Expect     *Expect
	Wait       time.Duration
	WaitFor    *Element // until it is visible
	Screenshot bool
	Evaluate   string // JavaScript that must give true
}

// Element names one element: the first visible one that matches the selector
// and has the text. One of the two may be "".
type Element struct{ Selector, Text string }

// Typing puts a text into a field in place of what is there.
type Typing struct{ Into, Text string }

// Choice picks an option by its value or by what it says.
type Choice struct{ From, Option string }

// Expect is what the page must look like; what is not set is not looked at.
type Expect struct {
	Selector string // the element that has the text; "": the whole page
	Text     string
	NotText  string
	Title    string // is contained in it
	URL      *regexp.Regexp
	Count    string // a selector
	AtLeast  int
	AtMost   int // below 0: any number
}

// Outcome is how a run went, filled as far as it came.
type Outcome struct {
	// Start is when the browser was ready for the first step, from which the
	// offsets count; zero when it never was.
	Start      time.Time
	Steps      []record.Step
	Hops       []record.Hop
	Values     []record.Value
	Facts      map[string]string
	Console    []string
	Screenshot []byte   // JPEG
	Failure    *Failure // nil: all steps are done
	// Reply is the head of the document that failed, when it came.
	Reply *http.Response
	// Unanswered is the address of a document from which nothing came before the
	// time was over, or whose certificate was refused: it is worth a second look.
	Unanswered *url.URL
}

// Failure is why a run ended badly, in the words of checks.
type Failure struct{ Stage, Reason, Message string }

func ownFault(message string) *Failure { return &Failure{"processing", "own_fault", message} }
