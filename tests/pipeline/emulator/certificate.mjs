// @ts-check
/** The certificate with which a ministack answers by TLS. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generate } from 'selfsigned';

/**
 * Makes one that isn't an authority's: rustls takes the certificate of an authority for no server's.
 *
 * @param {string} directory for the two PEM files
 * @returns {Promise<{ certificate: string, key: string }>} their paths
 */
export async function makeCertificate(directory) {
  const certificate = join(directory, 'certificate.pem');
  const key = join(directory, 'key.pem');
  const pems = await generate([{ name: 'commonName', value: 'ministack' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 7, ip: '127.0.0.1' },
          { type: 2, value: 'localhost' },
        ],
      },
    ],
  });
  writeFileSync(certificate, pems.cert);
  writeFileSync(key, pems.private, { mode: 0o600 });
  return { certificate, key };
}
