package app

import "time"

// CloseIdle closes the tenants that are idle at a time.
func (s *Server) CloseIdle(at time.Time) { s.house.closeIdleAt(at) }

// ParseConfig reads the text of a vedette.yml as LoadConfig does.
func ParseConfig(content []byte) error {
	c := &Config{path: "vedette.yml"}
	if err := c.decode(content); err != nil {
		return err
	}
	c.resolve()
	c.derivedURL = c.ExternalURL == ""
	c.setDefaults()
	if err := c.validate(); err != nil {
		return c.locate(err)
	}
	return nil
}
