// Package vsphere is what reading and acting on vCenters share: sessions, TLS
// pins, which calls may be retried, paging, and the loop that waits for updates.
//
// # Sessions
//
// A [Session] belongs to one account at one vCenter and logs in when it is first
// used. vCenter forgets sessions by itself (idle expiry, restart, an operator);
// with them go all views, filters, collectors. So a login has a generation: a
// user keeps the [Conn] it built its views on, and when a call fails because
// the session is gone, asks for a new Conn and builds them again.
//
// Reading and acting use separate sessions with separate accounts.
//
// # Retries
//
// A call that only reads is sent a second time after a connection error, once. A
// call that changes something is never sent twice: whoever sent it finds out
// what became of it.
//
// # Trust
//
// The certificate is verified by a SHA-256 pin, by a file of authorities or by
// the system's. There is no SHA-1, and no unverified TLS except to loopback.
package vsphere
