'use strict';

const { createApp } = require('./app');

const port = Number(process.env.PORT || 3000);
const app = createApp();
const server = app.listen(port, () => console.log(`listening on port ${port}, version ${app.locals.version}`));

// `docker stop` sends SIGTERM: requests that are under way are answered, then the process ends with 0.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    console.log(`${signal}: closing`);
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
