BEGIN TRANSACTION;
CREATE TABLE alarms (
	alarm_id VARCHAR NOT NULL, 
	seq INTEGER NOT NULL, 
	deployment VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	detector VARCHAR NOT NULL, 
	"primary" BOOLEAN NOT NULL, 
	confirmed BOOLEAN NOT NULL, 
	at FLOAT NOT NULL, 
	body JSON NOT NULL, 
	answer VARCHAR, 
	PRIMARY KEY (alarm_id)
);
CREATE TABLE buffer_items (
	buffer VARCHAR NOT NULL, 
	exchange_id VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	stage VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	PRIMARY KEY (buffer, exchange_id, role), 
	FOREIGN KEY(buffer) REFERENCES buffers (digest)
);
CREATE TABLE buffers (
	digest VARCHAR NOT NULL, 
	deployment VARCHAR NOT NULL, 
	tenant VARCHAR NOT NULL, 
	cause VARCHAR NOT NULL, 
	counts JSON NOT NULL, 
	created_at FLOAT NOT NULL, 
	PRIMARY KEY (digest)
);
CREATE TABLE commands (
	id INTEGER NOT NULL, 
	verb VARCHAR NOT NULL, 
	args JSON NOT NULL, 
	actor VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	answer VARCHAR, 
	at FLOAT NOT NULL, 
	settled_at FLOAT, 
	PRIMARY KEY (id)
);
CREATE TABLE counters (
	name VARCHAR NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE cycles (
	id VARCHAR NOT NULL, 
	deployment VARCHAR NOT NULL, 
	cause VARCHAR NOT NULL, 
	phase VARCHAR NOT NULL, 
	active BOOLEAN NOT NULL, 
	reason VARCHAR NOT NULL, 
	data JSON NOT NULL, 
	started_at FLOAT NOT NULL, 
	changed_at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "cycles" VALUES('c1','support','manual','rolling',1,'gate_passed','{"rollout":"r1"}',3.0,3.0);
CREATE TABLE dead_letters (
	topic VARCHAR NOT NULL, 
	partition INTEGER NOT NULL, 
	"offset" BIGINT NOT NULL, 
	reason VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	payload TEXT, 
	at FLOAT NOT NULL, 
	sent_at FLOAT, 
	PRIMARY KEY (topic, partition, "offset")
);
CREATE TABLE denials (
	version VARCHAR NOT NULL, 
	deployment VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	actor VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	lifted_at FLOAT, 
	lifted_reason VARCHAR, 
	PRIMARY KEY (version)
);
CREATE TABLE exchanges (
	exchange_id VARCHAR NOT NULL, 
	deployment VARCHAR NOT NULL, 
	tenant VARCHAR NOT NULL, 
	session VARCHAR NOT NULL, 
	identity VARCHAR NOT NULL, 
	version VARCHAR NOT NULL, 
	rollout VARCHAR, 
	status INTEGER NOT NULL, 
	received_at FLOAT NOT NULL, 
	facts TEXT NOT NULL, 
	text TEXT, 
	PRIMARY KEY (exchange_id)
);
INSERT INTO "exchanges" VALUES('x1','support','default','s1','i1','support-base','r1',200,1001.0,'{"exchange_id":"x1","deployment":"support","tenant":"default","session":"s1","session_derived":false,"identity":"i1","version":"support-base","rollout":"r1","arm":"canary","propensity":0.1,"route_epoch":0,"received_at":1001.0,"dispatched_at":1001.0,"completed_at":1001.5,"status":200,"attempts":[],"streamed":false}',NULL);
INSERT INTO "exchanges" VALUES('x2','support','default','s2','i2','support-base',NULL,200,1002.0,'{"exchange_id":"x2","deployment":"support","tenant":"default","session":"s2","session_derived":false,"identity":"i2","version":"support-base","route_epoch":0,"received_at":1002.0,"dispatched_at":1002.0,"completed_at":1002.5,"status":200,"attempts":[],"streamed":false}','{"client_request_id":null,"messages":[{"role":"user","content":"question 2"}],"completion":"answer 2","completion_token_ids":[1,2,3]}');
INSERT INTO "exchanges" VALUES('x3','support','default','s3','i3','support-base',NULL,200,1003.0,'{"exchange_id":"x3","deployment":"support","tenant":"default","session":"s3","session_derived":false,"identity":"i3","version":"support-base","route_epoch":0,"received_at":1003.0,"dispatched_at":1003.0,"completed_at":1003.5,"status":200,"attempts":[],"streamed":false}',NULL);
INSERT INTO "exchanges" VALUES('x4','support','default','s4','i4','support-base',NULL,200,1004.0,'{"exchange_id":"x4","deployment":"support","tenant":"default","session":"s4","session_derived":false,"identity":"i4","version":"support-base","route_epoch":0,"received_at":1004.0,"dispatched_at":1004.0,"completed_at":1004.5,"status":200,"attempts":[],"streamed":false}',NULL);
CREATE TABLE feedback (
	feedback_id VARCHAR NOT NULL, 
	exchange_id VARCHAR NOT NULL, 
	deployment VARCHAR NOT NULL, 
	identity VARCHAR, 
	kind VARCHAR NOT NULL, 
	sent_at FLOAT NOT NULL, 
	facts TEXT NOT NULL, 
	text TEXT, 
	PRIMARY KEY (feedback_id)
);
INSERT INTO "feedback" VALUES('f1','x1','support',NULL,'thumb',1001.0,'{"feedback_id":"f1","exchange_id":"x1","deployment":"support","tenant":"default","session":null,"identity":null,"kind":"thumb","name":"feedback","value":true,"rating_min":1.0,"rating_max":5.0,"choice":0,"trust":"token","token_expiry":null,"sent_at":1001.0}','{"correction":null,"comment":null}');
INSERT INTO "feedback" VALUES('f2','x2','support',NULL,'thumb',1002.0,'{"feedback_id":"f2","exchange_id":"x2","deployment":"support","tenant":"default","session":null,"identity":null,"kind":"thumb","name":"feedback","value":false,"rating_min":1.0,"rating_max":5.0,"choice":0,"trust":"token","token_expiry":null,"sent_at":1002.0}','{"correction":null,"comment":null}');
INSERT INTO "feedback" VALUES('f3','x3','support',NULL,'correction',1003.0,'{"feedback_id":"f3","exchange_id":"x3","deployment":"support","tenant":"default","session":null,"identity":null,"kind":"correction","name":"feedback","value":null,"rating_min":1.0,"rating_max":5.0,"choice":0,"trust":"token","token_expiry":null,"sent_at":1003.0}',NULL);
INSERT INTO "feedback" VALUES('f4','x4','support',NULL,'thumb',1004.0,'{"feedback_id":"f4","exchange_id":"x4","deployment":"support","tenant":"default","session":null,"identity":null,"kind":"thumb","name":"feedback","value":true,"rating_min":1.0,"rating_max":5.0,"choice":0,"trust":"token","token_expiry":null,"sent_at":1004.0}',NULL);
CREATE TABLE fences (
	deployment VARCHAR NOT NULL, 
	epoch BIGINT NOT NULL, 
	holder VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (deployment)
);
CREATE TABLE gaps (
	id INTEGER NOT NULL, 
	topic VARCHAR NOT NULL, 
	partition INTEGER NOT NULL, 
	expected BIGINT NOT NULL, 
	found BIGINT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE intents (
	id INTEGER NOT NULL, 
	rollout VARCHAR NOT NULL, 
	effect VARCHAR NOT NULL, 
	args JSON NOT NULL, 
	state VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	settled_at FLOAT, 
	PRIMARY KEY (id)
);
CREATE TABLE jobs (
	id VARCHAR NOT NULL, 
	cycle VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	worker VARCHAR, 
	spec JSON NOT NULL, 
	report JSON NOT NULL, 
	reason VARCHAR NOT NULL, 
	created_at FLOAT NOT NULL, 
	claimed_at FLOAT, 
	heartbeat_at FLOAT, 
	ended_at FLOAT, 
	PRIMARY KEY (id)
);
CREATE TABLE ledger (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	deployment VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	actor VARCHAR NOT NULL, 
	data JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "ledger" VALUES(1,4.0,'support','r1','rollout','gate_passed','daemon','{"to_phase":"starting"}');
CREATE TABLE ledger_refs (
	ledger INTEGER NOT NULL, 
	ref VARCHAR NOT NULL, 
	PRIMARY KEY (ledger, ref), 
	FOREIGN KEY(ledger) REFERENCES ledger (id)
);
CREATE TABLE meta (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema_version','3');
CREATE TABLE offsets (
	topic VARCHAR NOT NULL, 
	partition INTEGER NOT NULL, 
	next_offset BIGINT NOT NULL, 
	PRIMARY KEY (topic, partition)
);
INSERT INTO "offsets" VALUES('homeostat.traffic',0,4);
CREATE TABLE proofs (
	id INTEGER NOT NULL, 
	version VARCHAR NOT NULL, 
	replica VARCHAR NOT NULL, 
	incarnation VARCHAR NOT NULL, 
	ok BOOLEAN NOT NULL, 
	reason VARCHAR NOT NULL, 
	numbers JSON NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE rollouts (
	id VARCHAR NOT NULL, 
	deployment VARCHAR NOT NULL, 
	candidate VARCHAR NOT NULL, 
	control VARCHAR, 
	cause VARCHAR NOT NULL, 
	phase VARCHAR NOT NULL, 
	active BOOLEAN NOT NULL, 
	reason VARCHAR NOT NULL, 
	data JSON NOT NULL, 
	started_at FLOAT NOT NULL, 
	changed_at FLOAT NOT NULL, 
	deadline FLOAT NOT NULL, 
	ended_at FLOAT, 
	PRIMARY KEY (id)
);
INSERT INTO "rollouts" VALUES('r1','support','support-bbbbbbbbbbbb','support-000000000000','manual','canary_small',1,'gate_passed','{"config":{"preset":"balanced","share_small":0.1,"share_half":0.5,"share_probation":0.95,"share_second_probation":0.5,"alpha":0.05,"alpha_promote":null,"wrong_promotions_a_year":1.0,"margin_small":0.1,"margin_half":0.05,"min_units_per_arm":20,"maturity_s":3600.0,"lateness_s":5.0,"lease_s":30.0,"deadline_s":604800.0,"probation_units":2000,"probation_s":86400.0,"identity_cap":3,"first_token_slo_s":null,"token_slo_s":null,"kill_errors":20,"kill_sessions":5,"fleet_window":200,"fleet_errors_factor":3.0,"fleet_slow_share":0.5,"prometheus_url":null,"kill_queries":[],"kill_query_every_s":15.0,"soak_requests":16,"shadow":{"share":0.0,"max_per_minute":60,"max_total":2000,"enough":200,"wait_s":600.0},"champion_wait_s":60.0},"slice":null,"stakes":"0.5:1.0"}',4.0,4.0,9000.0,NULL);
CREATE TABLE sessions (
	deployment VARCHAR NOT NULL, 
	session VARCHAR NOT NULL, 
	first_at FLOAT NOT NULL, 
	first_exchange VARCHAR NOT NULL, 
	PRIMARY KEY (deployment, session)
);
INSERT INTO "sessions" VALUES('support','s1',1001.0,'x1');
CREATE TABLE shadow_scores (
	rollout VARCHAR NOT NULL, 
	exchange_id VARCHAR NOT NULL, 
	block INTEGER NOT NULL, 
	identity VARCHAR NOT NULL, 
	corrected BOOLEAN NOT NULL, 
	"right" BOOLEAN NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (rollout, exchange_id)
);
INSERT INTO "shadow_scores" VALUES('r1','x1',1,'i1',0,1,6.0);
INSERT INTO "shadow_scores" VALUES('r1','x2',1,'i2',1,0,6.0);
CREATE TABLE states (
	name VARCHAR NOT NULL, 
	blob BLOB NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "states" VALUES('watch:core',X'00017374617465',5.0);
CREATE TABLE suspended (
	exchange_id VARCHAR NOT NULL, 
	rollout VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	lifted_at FLOAT, 
	lifted_reason VARCHAR, 
	PRIMARY KEY (exchange_id, rollout)
);
CREATE TABLE unit_events (
	rollout VARCHAR NOT NULL, 
	seq INTEGER NOT NULL, 
	path VARCHAR NOT NULL, 
	unit INTEGER NOT NULL, 
	value FLOAT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (rollout, seq)
);
CREATE TABLE units (
	rollout VARCHAR NOT NULL, 
	seq INTEGER NOT NULL, 
	session VARCHAR NOT NULL, 
	identity VARCHAR NOT NULL, 
	arm VARCHAR NOT NULL, 
	propensity FLOAT NOT NULL, 
	in_slice BOOLEAN NOT NULL, 
	capped BOOLEAN NOT NULL, 
	first_at FLOAT NOT NULL, 
	PRIMARY KEY (rollout, seq)
);
CREATE TABLE versions (
	version VARCHAR NOT NULL, 
	deployment VARCHAR NOT NULL, 
	tenant VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	base_digest VARCHAR NOT NULL, 
	parent VARCHAR, 
	status VARCHAR NOT NULL, 
	gate JSON, 
	manifest VARCHAR NOT NULL, 
	buffer VARCHAR, 
	created_at FLOAT NOT NULL, 
	promoted_at FLOAT, 
	PRIMARY KEY (version)
);
CREATE INDEX ix_dead_letters_sent_at ON dead_letters (sent_at);
CREATE INDEX ix_exchanges_identity ON exchanges (identity);
CREATE INDEX exchanges_by_time ON exchanges (deployment, received_at);
CREATE INDEX ix_exchanges_session ON exchanges (session);
CREATE INDEX ix_feedback_exchange_id ON feedback (exchange_id);
CREATE INDEX ix_feedback_identity ON feedback (identity);
CREATE INDEX feedback_by_time ON feedback (deployment, sent_at);
CREATE INDEX ix_ledger_subject ON ledger (subject);
CREATE INDEX ix_alarms_seq ON alarms (seq);
CREATE UNIQUE INDEX one_active_cycle ON cycles (deployment) WHERE active;
CREATE UNIQUE INDEX one_active_rollout ON rollouts (deployment) WHERE active;
CREATE INDEX ix_intents_rollout ON intents (rollout);
CREATE INDEX ix_intents_state ON intents (state);
CREATE INDEX ix_commands_state ON commands (state);
CREATE INDEX proofs_of ON proofs (version, replica);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX ix_jobs_cycle ON jobs (cycle);
CREATE UNIQUE INDEX one_unit_a_session ON units (rollout, session);
CREATE INDEX ix_ledger_refs_ref ON ledger_refs (ref);
CREATE INDEX ix_buffer_items_exchange_id ON buffer_items (exchange_id);
COMMIT;
