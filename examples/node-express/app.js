'use strict';

const express = require('express');

const version = process.env.VERSION || 'dev';

/** The application without a port, so that tests can ask it. */
function createApp({ log = console.log } = {}) {
  const app = express();
  const notes = [];
  app.locals.version = version;
  app.disable('x-powered-by');

  app.use((request, response, next) => {
    const started = process.hrtime.bigint();
    response.on('finish', () => {
      const ms = Number(process.hrtime.bigint() - started) / 1e6;
      log(`${request.method} ${request.originalUrl} ${response.statusCode} ${ms.toFixed(1)} ms`);
    });
    next();
  });
  app.use(express.json({ limit: '16kb' }));

  app.get('/', (request, response) => response.json({ service: 'notes', version }));
  app.get('/health', (request, response) => response.json({ status: 'ok' }));
  app.get('/notes', (request, response) => response.json(notes));
  app.post('/notes', (request, response) => {
    const text = request.body?.text;
    if (typeof text !== 'string' || text.trim() === '') {
      return response.status(400).json({ error: '"text" has to be a string that is not empty' });
    }
    const note = { id: notes.length + 1, text };
    notes.push(note);
    return response.status(201).json(note);
  });

  app.use((request, response) => response.status(404).json({ error: `no ${request.method} ${request.path} here` }));
  app.use((error, request, response, next) => {
    if (response.headersSent) return next(error);
    const status = error.status ?? 500;
    if (status >= 500) console.error(error);
    return response.status(status).json({ error: status < 500 ? error.message : 'internal error' });
  });
  return app;
}

module.exports = { createApp };
