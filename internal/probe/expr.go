package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/ohler55/ojg/jp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// JSONRule wants something of the values that a path finds in a JSON body. Every
// value found must satisfy it, and without exists and count there must be one.
type JSONRule struct {
	Path        string   `yaml:"path"`                   // JSONPath, such as $.nodes[*].state
	Equals      any      `yaml:"equals,omitempty"`       // of the same type; numbers by their value
	Matches     string   `yaml:"matches,omitempty"`      // regular expression of a text, or of the JSON of anything else
	Exists      *bool    `yaml:"exists,omitempty"`       // false: the path must find nothing
	GreaterThan *float64 `yaml:"greater_than,omitempty"` // numbers only
	LessThan    *float64 `yaml:"less_than,omitempty"`
	Count       *int     `yaml:"count,omitempty"` // how many values the path finds
}

// jsonRule is a JSONRule that can be applied.
type jsonRule struct {
	JSONRule
	path   jp.Expr
	re     *regexp.Regexp
	equals any  // as decodeJSON gives it; nil: not asked
	secret bool // what is found is not shown
}

// The bounds of what an assertion may cost. A path within maxCommas and with one
// search (..) or filter visits each value of the body at most 256 times.
const (
	maxExpression = 4000      // bytes of a path or expression
	maxSchema     = 1 << 20   // bytes of a schema
	maxCommas     = 8         // in a path: unions multiply
	maxCELCost    = 1_000_000 // of cel-go's units; a look through 1 MiB of body is 100,000, a step of a loop 5 or more
	maxCELTime    = 2 * time.Second
	maxSchemaCost = 2_000_000 // schemas applied to values
	// Values nested in each other by loops grow with their product, and what
	// compares them is charged only when it is done.
	maxLoops, maxUses = 4, 8
)

func (j JSONRule) compile() (*jsonRule, error) {
	if err := pathBounds(j.Path); err != nil {
		return nil, fmt.Errorf("path: %q: %w", j.Path, err)
	}
	r := &jsonRule{JSONRule: j}
	var err error
	if r.path, err = jp.ParseString(j.Path); err != nil {
		return nil, fmt.Errorf("path: %q: want a JSONPath such as $.status: %w", j.Path, err)
	}
	if r.re, err = regexp.Compile(j.Matches); err != nil {
		return nil, fmt.Errorf("matches: %q: want a regular expression (RE2): %w", j.Matches, err)
	}
	if j.Equals != nil {
		if r.equals, err = plainJSON(j.Equals); err != nil {
			return nil, fmt.Errorf("equals: %v: want a JSON value: %w", j.Equals, err)
		}
	}
	if j.Count != nil && *j.Count < 0 {
		return nil, fmt.Errorf("count: %d: want 0 or more", *j.Count)
	}
	if j.Exists != nil && !*j.Exists && (j.Equals != nil || j.Matches != "" || j.GreaterThan != nil || j.LessThan != nil || j.Count != nil) {
		return nil, errors.New("exists: false goes with no other condition; what is not there has no value")
	}
	last := j.Path[strings.LastIndexAny(j.Path, ".[")+1:]
	r.secret = secretName.MatchString(strings.Trim(last, `'"]`))
	return r, nil
}

var rootInFilter = regexp.MustCompile(`\?.*\$[.\[]`)

// pathBounds refuses paths whose cost grows faster than the body.
func pathBounds(path string) error {
	switch {
	case !strings.HasPrefix(path, "$"):
		return errors.New("want a JSONPath that begins with $, such as $.status")
	case len(path) > maxExpression:
		return fmt.Errorf("has %d bytes; want at most %d", len(path), maxExpression)
	case strings.Count(path, "..")+strings.Count(path, "?") > 1:
		return errors.New("want at most one search (..) or filter (?)")
	case strings.Count(path, ",") > maxCommas:
		return fmt.Errorf("want at most %d commas", maxCommas)
	case rootInFilter.MatchString(path):
		return errors.New("want a filter that looks at @ alone, not at $")
	}
	return nil
}

// verdict is what a decoded body lacks, "" when nothing.
func (r *jsonRule) verdict(tree any) string {
	found := r.path.Get(tree)
	if r.Exists != nil && !*r.Exists {
		if len(found) > 0 {
			return fmt.Sprintf("the body has %s and should not: %s", r.Path, r.show(found[0]))
		}
		return ""
	}
	if r.Count != nil {
		if len(found) != *r.Count {
			return fmt.Sprintf("the body has %d values at %s; want %d", len(found), r.Path, *r.Count)
		}
	} else if len(found) == 0 {
		return fmt.Sprintf("the body has nothing at %s", r.Path)
	}
	for _, v := range found {
		if want := r.differs(v); want != "" {
			return fmt.Sprintf("%s in the body is %s; want %s", r.Path, r.show(v), want)
		}
	}
	return ""
}

// differs says what was wanted of a value that is otherwise.
func (r *jsonRule) differs(v any) string {
	number, isNumber := numeric(v)
	switch {
	case r.equals != nil && !equalJSON(v, r.equals):
		return showJSON(r.equals)
	case r.Matches != "" && !r.re.MatchString(textJSON(v)):
		return fmt.Sprintf("it to match %q", r.Matches)
	case (r.GreaterThan != nil || r.LessThan != nil) && !isNumber:
		return "a number"
	case r.GreaterThan != nil && !(number > *r.GreaterThan):
		return fmt.Sprintf("more than %g", *r.GreaterThan)
	case r.LessThan != nil && !(number < *r.LessThan):
		return fmt.Sprintf("less than %g", *r.LessThan)
	}
	return ""
}

func (r *jsonRule) show(v any) string {
	if r.secret {
		return removed
	}
	return showJSON(v)
}

func numeric(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// equalJSON compares decoded values; 1 equals 1.0.
func equalJSON(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, ok := y[k]; !ok || !equalJSON(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equalJSON)
	}
	if reflect.TypeOf(a) == reflect.TypeOf(b) {
		return a == b
	}
	x, xok := numeric(a)
	y, yok := numeric(b)
	return xok && yok && x == y
}

func textJSON(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, _ := json.Marshal(v) // came from JSON
	return string(b)
}

// showJSON renders a value for a message.
func showJSON(v any) string {
	b, _ := json.Marshal(v)
	return shorten(string(b), 200)
}

// decodeJSON reads one JSON value: map[string]any, []any, string, bool, nil,
// int64 where the number is one, float64 otherwise.
func decodeJSON(text []byte) (any, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("it is empty")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("it ends early")
		}
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the first value")
	}
	return numbers(v)
}

// numbers replaces json.Number in a decoded value.
func numbers(v any) (any, error) {
	var err error
	switch x := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return n, nil
		}
		n, err := strconv.ParseFloat(string(x), 64)
		if err != nil {
			return nil, fmt.Errorf("the number %s is out of range", shorten(string(x), 40))
		}
		return n, nil
	case []any:
		for i := range x {
			if x[i], err = numbers(x[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range x {
			if x[k], err = numbers(x[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// plainJSON makes a value that was read from YAML what decodeJSON would give.
func plainJSON(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return decodeJSON(b)
}

// json is the decoded body of a reply.
func (rep *reply) json() (any, error) {
	if !rep.decoded {
		rep.tree, rep.jsonErr = decodeJSON(rep.body)
		rep.decoded = true
	}
	return rep.tree, rep.jsonErr
}

// schema is a JSON schema of one check. One value is looked at at a time: the
// cost is counted in the schema itself.
type schema struct {
	mu   sync.Mutex
	root *jsonschema.Schema
	cost *schemaCost
}

// schemaCost is attached to every part of a schema and bounds how often all of
// them together are applied: references can multiply without end.
type schemaCost struct{ left int }

var errSchemaCost = errors.New("it takes too long to compare with the schema")

// Validate implements jsonschema.SchemaExt.
func (c *schemaCost) Validate(*jsonschema.ValidatorContext, any) {
	if c.left--; c.left < 0 {
		panic(errSchemaCost)
	}
}

// noLoader refuses what a schema would load from elsewhere.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s; want a schema that holds all its parts, under $defs", strings.TrimPrefix(url, schemaURL[:len(schemaURL)-len("schema.json")]))
}

const schemaURL = "vedette:///schema.json"

// compileSchema takes a schema as YAML has it (a mapping, true or false), or
// JSON text.
func compileSchema(from any) (s *schema, err error) {
	defer func() {
		if what := recover(); what != nil { // a meta-schema is applied too
			s, err = nil, fmt.Errorf("want a JSON schema: %v", what)
		}
	}()
	text, ok := from.(string)
	if !ok {
		b, err := json.Marshal(from)
		if err != nil {
			return nil, fmt.Errorf("want a JSON schema: %w", err)
		}
		text = string(b)
	}
	if len(text) > maxSchema {
		return nil, fmt.Errorf("has %d bytes; want at most %d", len(text), maxSchema)
	}
	doc, err := decodeJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("want a JSON schema: %w", err)
	}
	switch doc.(type) {
	case map[string]any, bool:
	default:
		return nil, fmt.Errorf("%s: want a JSON schema, which is an object", showJSON(doc))
	}
	s = &schema{cost: &schemaCost{left: maxSchemaCost}}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.AssertFormat()
	c.RegisterVocabulary(&jsonschema.Vocabulary{URL: "vedette:cost", Compile: func(*jsonschema.CompilerContext, map[string]any) (jsonschema.SchemaExt, error) {
		return s.cost, nil
	}})
	c.AssertVocabs()
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, fmt.Errorf("want a JSON schema: %w", err)
	}
	if s.root, err = c.Compile(schemaURL); err != nil {
		return nil, fmt.Errorf("want a JSON schema: %s", strings.ReplaceAll(err.Error(), schemaURL, ""))
	}
	return s, nil
}

func readSchema(file string) (*schema, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("want a readable file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSchema+1))
	if err != nil {
		return nil, fmt.Errorf("want a readable file: %w", err)
	}
	s, err := compileSchema(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// verdict is how a decoded body breaks the schema, "" when it does not.
func (s *schema) verdict(tree any) (said string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cost.left = maxSchemaCost
	defer func() {
		if what := recover(); what != nil {
			said = fmt.Sprintf("the body cannot be compared with the schema: %v", what)
		}
	}()
	err := s.root.Validate(tree)
	if err == nil {
		return ""
	}
	var ve *jsonschema.ValidationError
	if !errors.As(err, &ve) {
		return fmt.Sprintf("the body cannot be compared with the schema: %v", err)
	}
	var all []string
	leaves(ve, &all)
	slices.Sort(all) // a map's order is not the same twice
	more := ""
	if len(all) > 3 {
		more = fmt.Sprintf("; and %d more", len(all)-3)
		all = all[:3]
	}
	return "the body is not as the schema wants it: " + strings.Join(all, "; ") + more
}

// leaves lists the errors that have no cause below them.
func leaves(e *jsonschema.ValidationError, out *[]string) {
	if len(e.Causes) == 0 {
		said := e.Error()
		if u := e.BasicOutput(); u.Error != nil {
			said = u.Error.String()
		}
		at := "/" + strings.Join(e.InstanceLocation, "/")
		*out = append(*out, shorten("at "+at+": "+said, 240))
	}
	for _, c := range e.Causes {
		leaves(c, out)
	}
}

// celVariables are what an expression may use.
var celVariables = []string{"status", "body", "json", "headers", "phases", "duration", "size", "certificate_days", "protocol"}

// celEnv is the language of expressions; it never changes once made, and making
// it takes a millisecond.
var celEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("status", cel.IntType),
		cel.Variable("body", cel.StringType),
		cel.Variable("json", cel.DynType),
		cel.Variable("headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("phases", cel.MapType(cel.StringType, cel.DoubleType)),
		cel.Variable("duration", cel.DoubleType),
		cel.Variable("size", cel.IntType),
		cel.Variable("certificate_days", cel.DoubleType),
		cel.Variable("protocol", cel.StringType),
		cel.CrossTypeNumericComparisons(true),
	)
})

// hiddenResult is what loops are made of; an expression has no business with it.
const hiddenResult = "__result__"

// celRule is an expression that can be applied.
type celRule struct {
	text string
	prog cel.Program
	uses []string // small variables, to be shown
}

func compileCEL(text string) (*celRule, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("has %d bytes; want at most %d", len(text), maxExpression)
	}
	if strings.Contains(text, hiddenResult) {
		return nil, fmt.Errorf("%q: %s is not known", text, hiddenResult)
	}
	env, err := celEnv()
	if err != nil {
		return nil, fmt.Errorf("BUG: the language of expressions: %w", err)
	}
	tree, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		all := issues.Errors()
		said := err.Error()
		if len(all) > 0 {
			said = fmt.Sprintf("line %d, column %d: %s", all[0].Location.Line(), all[0].Location.Column()+1, strings.TrimPrefix(strings.ReplaceAll(all[0].Message, " (in container '')", ""), "undeclared reference to "))
			if strings.HasPrefix(all[0].Message, "undeclared reference") {
				said += " is not known; want one of " + strings.Join(celVariables, ", ")
			}
		}
		return nil, fmt.Errorf("%q: want a CEL expression: %s", text, said)
	}
	if t := tree.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("%q: gives a value of the type %s; want one that is true or false, such as status == 200", text, t)
	}
	r := &celRule{text: text}
	if r.prog, err = env.Program(tree, cel.CostLimit(maxCELCost), cel.InterruptCheckFrequency(100)); err != nil {
		return nil, fmt.Errorf("%q: want a CEL expression: %w", text, err)
	}
	loops, uses := 0, map[string]int{}
	ast.PostOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			loops++
		case ast.IdentKind:
			name := e.AsIdent()
			uses[name]++
			switch name {
			case "status", "phases", "duration", "size", "certificate_days", "protocol":
				if uses[name] == 1 {
					r.uses = append(r.uses, name)
				}
			}
		}
	}))
	for name, n := range uses {
		own := slices.Contains(celVariables, name) || name == "@result" || name == hiddenResult
		if loops > maxLoops || loops > 1 && n > maxUses && !own {
			return nil, fmt.Errorf("%q: want at most %d of all, exists, map and filter, and each variable of theirs at most %d times", text, maxLoops, maxUses)
		}
	}
	return r, nil
}

// verdict says how an expression is not true, "" when it is.
func (c *celRule) verdict(ctx context.Context, vars map[string]any) string {
	// cel-go's own counting slows down with the square of a loop's length: the
	// time is bounded as well.
	ctx, cancel := context.WithTimeout(ctx, maxCELTime)
	defer cancel()
	got, _, err := c.prog.ContextEval(ctx, vars)
	switch {
	case err != nil && (ctx.Err() != nil || strings.Contains(err.Error(), "cost limit")):
		return fmt.Sprintf("the expression %s takes too long on this reply", c.text)
	case err != nil:
		return fmt.Sprintf("the expression %s cannot be evaluated on this reply: %v", c.text, err)
	case got == types.True:
		return ""
	}
	said := fmt.Sprintf("the expression %s is not true", c.text)
	if got != types.False {
		said = fmt.Sprintf("the expression %s gives a value of the type %s; want true", c.text, got.Type().TypeName())
	}
	var shown []string
	for _, name := range c.uses {
		if _, lazy := vars[name].(func() ref.Val); !lazy {
			shown = append(shown, name+" is "+showJSON(vars[name]))
		}
	}
	if len(shown) > 0 {
		said += ": " + strings.Join(shown, ", ")
	}
	return said
}

// lazyJSON gives the body to an expression, decoded when it is asked for.
func lazyJSON(rep *reply) func() ref.Val {
	return func() ref.Val {
		tree, err := rep.json()
		if err != nil {
			return types.NewErr("the body is not JSON: %v", err)
		}
		return types.DefaultTypeAdapter.NativeToValue(tree)
	}
}
