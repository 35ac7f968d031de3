package app

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vedette-sre/vedette/internal/record"
	"github.com/vedette-sre/vedette/internal/store/state"
)

// manifestName is the first entry of a backup.
const manifestName = "vedette-backup.json"

// manifest says what a backup holds.
type manifest struct {
	Format  int       `json:"format"` // 1
	Tenant  string    `json:"tenant"`
	Taken   time.Time `json:"taken"`
	Version string    `json:"version"`
}

// backup streams a tenant as a gzipped tar: blocks holding every acknowledged
// sample, and a consistent copy of the state. Writing goes on meanwhile.
func (s *Server) backup(ctx context.Context, name record.Tenant, w http.ResponseWriter) error {
	s.house.mu.Lock()
	t := s.house.open[name] // the request holds it open
	s.house.mu.Unlock()
	if t == nil {
		return record.Errorf(record.NotFound, "tenant %q is not open", string(name))
	}
	tmp, err := os.MkdirTemp(s.house.env.data, ".backup-*")
	if err != nil {
		return fmt.Errorf("make a place for the backup: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := t.runs.Flush(ctx); err != nil {
		return err
	}
	if err := t.store.Snapshot(filepath.Join(tmp, "metrics"), true); err != nil {
		return fmt.Errorf("snapshot metrics: %w", err)
	}
	if err := state.Backup(t.db, filepath.Join(tmp, state.FileName)); err != nil {
		return err
	}
	taken := time.Now().UTC()
	h := w.Header()
	h.Set("Content-Type", "application/gzip")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="vedette-%s-%s.tar.gz"`, name, taken.Format("20060102T150405Z")))
	if err := writeArchive(w, tmp, manifest{1, string(name), taken, s.version.Version}); err != nil {
		// The answer has begun: cut it, so that nobody takes it for whole.
		s.log.Error("a backup was cut short", "tenant", string(name), "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

func writeArchive(w io.Writer, dir string, m manifest) error {
	zw, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(zw)
	js, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: manifestName, Mode: 0o640, Size: int64(len(js)), ModTime: m.Taken}); err != nil {
		return err
	}
	if _, err := tw.Write(js); err != nil {
		return err
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		if err := tw.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o640, Size: fi.Size(), ModTime: fi.ModTime()}); err != nil {
			return err
		}
		_, err = io.Copy(tw, f)
		return err
	})
	if err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return zw.Close()
}

// Restore unpacks a backup into data/<tenant>. The tenant must not exist there:
// nothing is ever overwritten. tenant "" takes the one named in the backup.
func Restore(r io.Reader, data, tenant string) (record.Tenant, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return "", fmt.Errorf("this is not a backup of Vedette (not gzip): %w", err)
	}
	tr := tar.NewReader(zr)
	hd, err := tr.Next()
	if err != nil || hd.Name != manifestName {
		return "", fmt.Errorf("this is not a backup of Vedette: it does not begin with %s", manifestName)
	}
	var m manifest
	if err := json.NewDecoder(io.LimitReader(tr, 1<<16)).Decode(&m); err != nil {
		return "", fmt.Errorf("read %s: %w", manifestName, err)
	}
	if m.Format != 1 {
		return "", fmt.Errorf("the backup has format %d and this Vedette reads format 1; restore it with version %s", m.Format, m.Version)
	}
	if tenant == "" {
		tenant = m.Tenant
	}
	name := record.Tenant(tenant)
	if err := name.Validate(); err != nil {
		return "", err
	}
	dir := filepath.Join(data, tenant)
	if _, err := os.Stat(dir); err == nil {
		return "", fmt.Errorf("%s exists already; move it away, choose another --data, or another --tenant", dir)
	}
	if err := os.MkdirAll(data, 0o750); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(data, ".restore-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for {
		hd, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("the backup is cut short or damaged: %w", err)
		}
		if err := unpack(tr, hd, tmp); err != nil {
			return "", err
		}
	}
	// A cut archive may still end cleanly as a tar; the gzip checksum tells.
	if _, err := io.Copy(io.Discard, zr); err != nil {
		return "", fmt.Errorf("the backup is cut short or damaged: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("put the restored tenant in place: %w", err)
	}
	return name, nil
}

func unpack(r io.Reader, hd *tar.Header, dir string) error {
	if hd.Typeflag != tar.TypeReg {
		return fmt.Errorf("the backup holds %q, which is not a plain file", hd.Name)
	}
	if !filepath.IsLocal(hd.Name) || strings.Contains(hd.Name, "\\") {
		return fmt.Errorf("the backup names the path %q, which leads outside", hd.Name)
	}
	p := filepath.Join(dir, filepath.FromSlash(hd.Name))
	if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return fmt.Errorf("unpack %s: %w", hd.Name, err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
