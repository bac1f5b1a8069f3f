// Haraka, which accepts every message and drops it: accept_haraka.js PORT CERTIFICATE
//
// Its configuration is made in the folder that it is started in.

const fs = require('node:fs')
const path = require('node:path')

const [port, certificate] = process.argv.slice(2)
const files = {
  'config/smtp.ini': `listen=127.0.0.1:${port}\nnodes=0\n`,
  'config/connection.ini': '[max]\nbytes=67108864\n[message]\n[uuid]\n',
  'config/log.ini': 'level=WARN\n',
  'config/me': 'mx.example.com\n',
  'config/plugins': 'tls\naccept\n',
  'config/tls.ini': `key=${certificate}\ncert=${certificate}\n`,
  'plugins/accept.js': `
exports.hook_lookup_rdns = (next) => next(OK, 'client.example.com')
exports.hook_rcpt = (next) => next(OK)
exports.hook_queue = (next) => next(OK)
`,
}
for (const [name, content] of Object.entries(files)) {
  fs.mkdirSync(path.dirname(name), { recursive: true })
  fs.writeFileSync(name, content)
}
process.env.HARAKA = process.cwd()
require('Haraka/haraka')
