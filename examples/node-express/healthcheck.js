'use strict';

// What HEALTHCHECK runs: ends with 0 if the application answers; curl need not be in the image.
const http = require('node:http');

http
  .get({ host: '127.0.0.1', port: process.env.PORT || 3000, path: '/health', timeout: 1500 }, (answer) => {
    process.exit(answer.statusCode === 200 ? 0 : 1);
  })
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1));
