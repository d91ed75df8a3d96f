'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const request = require('supertest');
const { createApp } = require('../app');

const app = () => createApp({ log: () => {} });

test('says that it is well', async () => {
  await request(app()).get('/health').expect(200, { status: 'ok' });
});

test('keeps notes', async () => {
  const notes = app();
  await request(notes).post('/notes').send({ text: 'buy milk' }).expect(201, { id: 1, text: 'buy milk' });
  const { body } = await request(notes).get('/notes').expect(200);
  assert.deepStrictEqual(body, [{ id: 1, text: 'buy milk' }]);
});

test('refuses what is no note', async () => {
  for (const body of [{}, { text: '' }, { text: 7 }]) {
    const answer = await request(app()).post('/notes').send(body).expect(400);
    assert.match(answer.body.error, /"text"/);
  }
  await request(app()).post('/notes').type('json').send('{').expect(400);
});

test('names what is not there', async () => {
  await request(app()).get('/nothing').expect(404, { error: 'no GET /nothing here' });
});
