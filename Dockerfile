# A small image from the project's own npm tarball, with the dependencies of its lock file, and Node.
#
#   docker build -t tidemark .
#   docker run -e TIDEMARK_INSECURE=true -p 127.0.0.1:9092:9092 -v tidemark:/data tidemark
#
# Without TIDEMARK_INSECURE it does not start: it listens on every address of its container, and there is no authentication yet. Publish the port
# where you trust everybody.
FROM node:24-bookworm-slim AS pack
WORKDIR /src
COPY . .
# Builds dist/ and packs it; the packages for that stay in this stage.
RUN npm pack --pack-destination /packed && mkdir /app && tar -xzf /packed/*.tgz -C /app --strip-components=1 && cp package-lock.json /app/

FROM node:24-bookworm-slim
COPY --from=pack /app/ /app/
# Exactly the versions of the lock file. No package of them needs to run a script.
RUN cd /app && npm ci --omit=dev --ignore-scripts && npm cache clean --force \
  && chmod +x dist/cli/tidemark.mjs && ln -s /app/dist/cli/tidemark.mjs /usr/local/bin/tidemark \
  && mkdir /data && chown node:node /data
USER node
VOLUME /data
ENV TIDEMARK_DATA_DIR=/data TIDEMARK_LISTEN=0.0.0.0:9092
EXPOSE 9092
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=5 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:9092/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# The process itself takes SIGTERM and drains.
ENTRYPOINT ["tidemark"]
CMD ["serve"]
