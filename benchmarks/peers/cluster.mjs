// Serves with node's cluster: so many processes as PEER_WORKERS says, one port. Prints {"url": ...} once all of them listen.

import cluster from 'node:cluster';
import process from 'node:process';

export async function serve(makeHandler) {
  const port = Number(process.env.PEER_PORT);
  const workers = Number(process.env.PEER_WORKERS);
  if (!cluster.isPrimary) {
    const { createServer } = await import('node:http');
    // Connections stay open for as long as the load generator wants them.
    createServer({ keepAliveTimeout: 60_000 }, await makeHandler()).listen(port, '127.0.0.1');
    return;
  }
  let listening = 0;
  cluster.on('listening', () => {
    listening += 1;
    if (listening === workers) {
      console.log(JSON.stringify({ url: `http://127.0.0.1:${port}` }));
    }
  });
  // A peer that loses a process is a failed run, not a slower one.
  cluster.on('exit', () => process.exit(1));
  for (let number = 0; number < workers; number += 1) {
    cluster.fork();
  }
}
