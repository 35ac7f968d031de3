package fleet

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// spool keeps results on disk until the hub has them: numbered segments of
// frames (length, CRC-32C, JSON of a Delivery). What put has returned for
// survives a crash of the process and, after the next sync, of the machine; a
// torn tail is cut at the next start. Beyond its limits the oldest segments go,
// and are counted.
type spool struct {
	dir      string
	maxBytes int64
	maxAge   time.Duration

	mu       sync.Mutex
	id       string
	segments []*segment // oldest first; the last one is written to
	w        *os.File
	next     uint64 // number of the next result
	acked    uint64
	dirty    bool
	dropped  int64
	buf      []byte
}

type segment struct {
	first uint64 // number of its first result
	next  uint64 // one past its last
	size  int64
	begun time.Time
}

const (
	segmentBytes = 4 << 20
	frameHead    = 8
	maxFrame     = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openSpool opens or makes a spool. Zero limits mean 256 MiB and seven days.
func openSpool(dir string, maxBytes int64, maxAge time.Duration) (*spool, error) {
	if maxBytes == 0 {
		maxBytes = 256 << 20
	}
	if maxAge == 0 {
		maxAge = 7 * 24 * time.Hour
	}
	s := &spool{dir: dir, maxBytes: maxBytes, maxAge: maxAge, next: 1}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	if err := s.identity(); err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for i, name := range names {
		first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), ".spool"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the spool holds %s, which is not its own; move it away", name)
		}
		seg, err := s.repair(name, first, i == len(names)-1)
		if err != nil {
			return nil, err
		}
		if seg.next == seg.first && i < len(names)-1 {
			if err := os.Remove(name); err != nil {
				return nil, err
			}
			continue
		}
		s.segments = append(s.segments, seg)
		s.next = max(s.next, seg.next)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "acked")); err == nil {
		s.acked, _ = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64) // a torn file means 0: the hub knows duplicates
	}
	s.next = max(s.next, s.acked+1)
	return s, s.trim(time.Now())
}

// identity reads or makes the name of the spool.
func (s *spool) identity() error {
	path := filepath.Join(s.dir, "id")
	if b, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(b))) == 32 {
		s.id = strings.TrimSpace(string(b))
		return nil
	}
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails, says its documentation
	s.id = hex.EncodeToString(raw)
	return writeFile(path, s.id)
}

// writeFile replaces a file whole.
func writeFile(path, text string) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}

// repair reads a segment and cuts what is torn at its end.
func (s *spool) repair(name string, first uint64, last bool) (*segment, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	seg := &segment{first: first, next: first, begun: time.Now()}
	if fi, err := f.Stat(); err == nil {
		seg.begun = fi.ModTime()
	}
	br := bufio.NewReaderSize(f, 1<<16)
	for {
		payload, err := readFrame(br)
		if err != nil {
			if err == io.EOF {
				return seg, nil
			}
			break // torn, or rotten: what follows has no beginning
		}
		seg.size += int64(frameHead + len(payload))
		seg.next++
	}
	if last {
		return seg, f.Truncate(seg.size)
	}
	return seg, nil
}

var errTorn = errors.New("a torn frame")

func readFrame(r io.Reader) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.EOF {
			return nil, io.EOF
		}
		return nil, errTorn
	}
	n := binary.LittleEndian.Uint32(head[:4])
	if n > maxFrame {
		return nil, errTorn
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil || crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, errTorn
	}
	return payload, nil
}

// put adds a result and numbers it.
func (s *spool) put(d Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Seq = s.next
	payload, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("render a result for the spool: %w", err)
	}
	if len(payload) > maxFrame {
		d.Screenshot, d.Result.HasScreenshot, d.Result.Reply = nil, false, ""
		if payload, err = json.Marshal(d); err != nil || len(payload) > maxFrame {
			s.dropped++
			return fmt.Errorf("a result of %d bytes is too large for the spool", len(payload))
		}
	}
	if s.w == nil || s.segments[len(s.segments)-1].size >= segmentBytes {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	s.buf = append(s.buf[:0], make([]byte, frameHead)...)
	binary.LittleEndian.PutUint32(s.buf, uint32(len(payload)))
	binary.LittleEndian.PutUint32(s.buf[4:], crc32.Checksum(payload, castagnoli))
	s.buf = append(s.buf, payload...)
	seg := s.segments[len(s.segments)-1]
	if _, err := s.w.Write(s.buf); err != nil {
		// Half a frame would hide those behind it.
		_ = s.w.Truncate(seg.size)
		_, _ = s.w.Seek(seg.size, io.SeekStart)
		s.dropped++
		return fmt.Errorf("write to the spool: %w", err)
	}
	seg.size += int64(len(s.buf))
	s.next++
	seg.next = s.next
	s.dirty = true
	return nil
}

// rotate begins a new segment, or goes on with the last after a start.
func (s *spool) rotate() error {
	if s.w == nil && len(s.segments) > 0 {
		seg := s.segments[len(s.segments)-1]
		if seg.size < segmentBytes && seg.next == s.next {
			f, err := os.OpenFile(s.path(seg), os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				return err
			}
			s.w = f
			return nil
		}
	}
	if s.w != nil {
		if err := errors.Join(s.w.Sync(), s.w.Close()); err != nil {
			return err
		}
		s.w = nil
	}
	seg := &segment{first: s.next, next: s.next, begun: time.Now()}
	f, err := os.OpenFile(s.path(seg), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("begin a segment of the spool: %w", err)
	}
	s.w = f
	s.segments = append(s.segments, seg)
	return s.trim(time.Now())
}

func (s *spool) path(seg *segment) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d.spool", seg.first))
}

// trim removes segments that the hub has whole, and the oldest beyond the
// limits.
func (s *spool) trim(now time.Time) error {
	var total int64
	for _, seg := range s.segments {
		total += seg.size
	}
	for len(s.segments) > 1 {
		seg := s.segments[0]
		have := seg.next <= s.acked+1
		if !have && total <= s.maxBytes && now.Sub(seg.begun) <= s.maxAge {
			break
		}
		if !have {
			s.dropped += int64(seg.next - max(seg.first, s.acked+1))
			s.acked = seg.next - 1
		}
		if err := os.Remove(s.path(seg)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		total -= seg.size
		s.segments = s.segments[1:]
	}
	return nil
}

// sync makes what was put survive a crash of the machine.
func (s *spool) sync() error {
	s.mu.Lock()
	w, dirty := s.w, s.dirty
	s.dirty = false
	s.mu.Unlock()
	if !dirty || w == nil {
		return nil
	}
	if err := w.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // closed by rotate, which synced it
		return fmt.Errorf("sync the spool: %w", err)
	}
	return nil
}

// batch reads the oldest results that the hub does not have, up to n and about
// maxBytes of JSON.
func (s *spool) batch(n int, maxBytes int) (out []Delivery, err error) {
	s.mu.Lock()
	from := s.acked + 1
	var segs []segment
	for _, seg := range s.segments {
		if seg.next > from {
			segs = append(segs, *seg)
		}
	}
	s.mu.Unlock()
	bytes := 0
	for _, seg := range segs {
		f, err := os.Open(s.path(&seg))
		if err != nil {
			return out, err
		}
		br := bufio.NewReaderSize(io.LimitReader(f, seg.size), 1<<16)
		for len(out) < n && bytes < maxBytes {
			payload, err := readFrame(br)
			if err != nil {
				break
			}
			var d Delivery
			if err := json.Unmarshal(payload, &d); err != nil {
				f.Close()
				return out, fmt.Errorf("read the spool: %w", err)
			}
			if d.Seq >= from {
				out = append(out, d)
				bytes += len(payload)
			}
		}
		f.Close()
		if len(out) >= n || bytes >= maxBytes {
			break
		}
	}
	return out, nil
}

// ack notes that the hub has everything up to seq.
func (s *spool) ack(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.acked {
		return nil
	}
	s.acked = min(seq, s.next-1)
	if err := s.trim(time.Now()); err != nil {
		return err
	}
	return writeFile(filepath.Join(s.dir, "acked"), strconv.FormatUint(s.acked, 10))
}

// waiting is how many results the hub does not have.
func (s *spool) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.next - 1 - s.acked)
}

func (s *spool) lost() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

func (s *spool) close() error {
	err := s.sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w != nil {
		err = errors.Join(err, s.w.Close())
		s.w = nil
	}
	return err
}
