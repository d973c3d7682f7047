# A small image from the project's own npm tarball: what `npm install tidemark` gives, and Node.
FROM node:24-bookworm-slim AS pack
WORKDIR /src
COPY . .
# Builds dist/ and packs it; the packages for that stay in this stage.
RUN npm pack --pack-destination /packed

FROM node:24-bookworm-slim
COPY --from=pack /packed/ /packed/
RUN npm install --global --omit=dev /packed/*.tgz \
  && npm cache clean --force && rm -rf /packed \
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
