package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/vedette-sre/vedette/internal/importer"
)

// cmdImport writes the checks that another monitor's file makes, and to the
// standard error what did not convert.
func cmdImport(_ context.Context, args []string, st streams) error {
	fl := flags("import", st)
	prom := fl.String("prometheus", "", "prometheus.yml whose jobs use the blackbox.yml")
	output := fl.String("output", "", "file to write; default standard output")
	force := fl.Bool("force", false, "write over the output file when it is there")
	secrets := fl.Bool("with-secrets", false, "copy passwords and tokens instead of naming files for them")
	pos, err := parse(fl, args, st, "KIND", "FILE")
	if err != nil {
		return err
	}
	o := importer.Options{Secrets: *secrets}
	if *prom != "" {
		if o.Prometheus, err = readSource(*prom, st.in); err != nil {
			return &usageError{"vedette import: --prometheus: " + err.Error()}
		}
		if len(o.Prometheus) == 0 {
			return &usageError{fmt.Sprintf("vedette import: --prometheus: %s is empty", *prom)}
		}
	}
	text, err := readSource(pos[1], st.in)
	if err != nil {
		return &usageError{"vedette import: " + err.Error()}
	}
	res, err := importer.Import(pos[0], text, o)
	if err != nil {
		return &usageError{"vedette import: " + err.Error()}
	}
	if err := writeImport(*output, res.YAML, *force, st.out); err != nil {
		return err
	}
	for _, n := range res.Notes {
		fmt.Fprintln(st.err, n)
	}
	fmt.Fprintf(st.err, "%s made, %s", many(res.Count, "check"), many(len(res.Notes), "note"))
	if res.Unbuilt > 0 {
		fmt.Fprintf(st.err, "; %d of a kind that this build does not have", res.Unbuilt)
	}
	fmt.Fprintln(st.err)
	return nil
}

// readSource reads a file whole, within what an import takes; - is the standard
// input.
func readSource(path string, in io.Reader) ([]byte, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, importer.MaxSource+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}

// writeImport writes the result to a file that was not there, or to out. The
// file may hold secrets: it is for its owner only.
func writeImport(path string, text []byte, force bool, out io.Writer) error {
	if path == "" || path == "-" {
		_, err := out.Write(text)
		return err
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, mode, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &usageError{fmt.Sprintf("vedette import: --output: %s is there already; --force writes over it", path)}
	}
	if err != nil {
		return &usageError{"vedette import: --output: " + err.Error()}
	}
	_, err = f.Write(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
