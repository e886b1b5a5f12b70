CREATE SOURCE a (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://t?partitions=3-1');
CREATE SOURCE b (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://t?key=idd');
CREATE SOURCE c (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://t?append_time=id');
CREATE SOURCE d (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://t?key=id&header.trace=id');
CREATE SOURCE e (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://t?key=id&key=at');
CREATE SOURCE f (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://t?header=id');
CREATE SOURCE g (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', stream = 'kafka://t?partition=1');
