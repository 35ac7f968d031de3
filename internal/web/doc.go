// Package web shows: the one HTTP port with its API, the UI and the doors of
// every HTTP protocol, each behind authentication and limits. It hides who may
// do what and which tenant a request belongs to; the stations behind it never
// see a request of another tenant.
package web
