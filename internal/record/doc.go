// Package record holds the words that all stations of Vedette share: tenants,
// check results, error kinds. It imports no other package of the project, and
// every station imports it, so that stations need not import one another.
package record
