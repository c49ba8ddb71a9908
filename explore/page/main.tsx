import { render } from 'preact';
import { open } from './api';
import { App } from './app';

const element = document.getElementById('page');
const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
if (token !== undefined) {
  // Out of the address and of the history, before anybody can share it.
  history.replaceState(null, '', '/#/events');
  await open(token);
}
if (element !== null) {
  render(<App />, element);
}
