package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	maxMessage = 16 << 20 // bytes of one message from the browser; a longer one is passed over
	maxQueue   = 4096     // messages to the browser that it has not read
)

var errLost = errors.New("the browser is gone")

// conn speaks the DevTools protocol over a pair of pipes: JSON messages, each
// ended by a zero byte. Safe for concurrent use.
type conn struct {
	event func(session, method string, params json.RawMessage) // called in order, must not block
	queue chan []byte
	lost  chan struct{} // closed when nothing comes any more

	mu      sync.Mutex
	next    int64
	waiting map[int64]chan message
}

// message is what comes: an answer with an id or an event with a method.
type message struct {
	ID        int64           `json:"id"`
	SessionID string          `json:"sessionId"`
	Method    string          `json:"method"`
	Params    json.RawMessage `json:"params"`
	Result    json.RawMessage `json:"result"`
	Error     *struct {
		Message string `json:"message"`
		Data    string `json:"data"`
	} `json:"error"`
}

// dial begins to speak; wait returns when both directions have ended, which is
// after the pipes are closed.
func dial(in io.Reader, out io.Writer, event func(session, method string, params json.RawMessage)) (c *conn, wait func()) {
	c = &conn{event: event, queue: make(chan []byte, maxQueue), lost: make(chan struct{}), waiting: map[int64]chan message{}}
	var all sync.WaitGroup
	all.Go(func() {
		defer close(c.lost)
		c.read(in)
	})
	all.Go(func() {
		for {
			select {
			case b := <-c.queue:
				if _, err := out.Write(b); err != nil {
					return
				}
			case <-c.lost:
				return
			}
		}
	})
	return c, all.Wait
}

func (c *conn) read(in io.Reader) {
	r := bufio.NewReaderSize(in, 64<<10)
	var whole []byte
	over := false
	for {
		b, err := r.ReadSlice(0)
		more := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !more {
			return
		}
		over = over || len(whole)+len(b) > maxMessage
		switch {
		case over:
			whole = nil
		case more:
			whole = append(whole, b...)
		case len(whole) > 0:
			b = append(whole, b...)
		}
		if more {
			continue
		}
		if !over {
			c.take(bytes.TrimSuffix(b, []byte{0}))
		}
		whole, over = nil, false
	}
}

func (c *conn) take(b []byte) {
	var m message
	if json.Unmarshal(b, &m) != nil {
		return
	}
	if m.ID == 0 {
		c.event(m.SessionID, m.Method, m.Params)
		return
	}
	c.mu.Lock()
	ch := c.waiting[m.ID]
	delete(c.waiting, m.ID)
	c.mu.Unlock()
	if ch != nil {
		ch <- m // has room for it
	}
}

// session sends commands to one target, "" for the browser itself. It is a
// cdp.Executor.
type session struct {
	*conn
	id string
}

// Execute sends a command and waits for its answer.
func (s session) Execute(ctx context.Context, method string, params, res any) error {
	ch := make(chan message, 1)
	id, err := s.post(method, params, ch)
	if err != nil {
		return err
	}
	var m message
	select {
	case m = <-ch:
	case <-ctx.Done():
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
		return ctx.Err()
	case <-s.lost:
		return errLost
	}
	if m.Error != nil {
		return fmt.Errorf("%s: %s", method, m.Error.Message)
	}
	if res == nil || len(m.Result) == 0 {
		return nil
	}
	return json.Unmarshal(m.Result, res)
}

// post sends a command; its answer goes to ch, nowhere when that is nil.
func (s session) post(method string, params any, ch chan message) (int64, error) {
	if params == nil {
		params = struct{}{}
	}
	body, err := json.Marshal(params)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.next++
	id := s.next
	if ch != nil {
		s.waiting[id] = ch
	}
	s.mu.Unlock()
	b, err := json.Marshal(struct {
		ID        int64           `json:"id"`
		SessionID string          `json:"sessionId,omitempty"`
		Method    string          `json:"method"`
		Params    json.RawMessage `json:"params"`
	}{id, s.id, method, body})
	if err != nil {
		return 0, err
	}
	select {
	case s.queue <- append(b, 0):
		return id, nil
	case <-s.lost:
	default: // it reads nothing any more
	}
	s.mu.Lock()
	delete(s.waiting, id)
	s.mu.Unlock()
	return 0, errLost
}
