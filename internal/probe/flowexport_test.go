package probe

import "errors"

// Expand puts variables into a text.
func Expand(text string, vars map[string]any) (string, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return "", err
	}
	f := &flowRun{run: &run{}, vars: flowVars{}}
	for name, v := range vars {
		f.vars[name] = &flowValue{v: v}
	}
	x, fail := f.expand(t, 1<<20, nil)
	if fail != nil {
		return "", errors.New(fail.message)
	}
	return x.text, nil
}

// EscapeTemplate makes a text that holds no variables.
var EscapeTemplate = escapeTemplate
