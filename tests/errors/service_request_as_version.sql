CREATE ENTITY page (page VARCHAR);
CREATE SOURCE clicks (id BIGINT PRIMARY KEY, page VARCHAR, v BIGINT, at TIMESTAMP) WITH (event_time = 'at', allowed_lateness = '1 hour', version = 'v');
CREATE FEATURE VIEW page_clicks ENTITY page AS SELECT page, count(*) OVER w AS n FROM clicks
WINDOW w AS (PARTITION BY page ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE s AS SELECT p.n FROM REQUEST (id BIGINT, page VARCHAR) AS clicks r LEFT JOIN page_clicks p ON p.page = r.page;
