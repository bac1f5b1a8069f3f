// Node's smtp-server, which accepts every message and drops it: accept_smtpserver.js PORT CERTIFICATE

const fs = require('node:fs')
const { SMTPServer } = require('smtp-server')

const [port, certificate] = process.argv.slice(2)
const identity = fs.readFileSync(certificate)

const server = new SMTPServer({
  name: 'mx.example.com',
  key: identity,
  cert: identity,
  authOptional: true,
  disableReverseLookup: true,
  size: 64 * 1024 * 1024,
  onData(stream, session, done) {
    stream.on('end', done)
    stream.resume()
  },
})
server.on('error', () => {}) // a client that has gone
server.listen(Number(port), '127.0.0.1')
